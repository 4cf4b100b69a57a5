"""How good a result is, told without the clean image."""
