"""What a press of a button asks for, and how it runs in a thread."""
