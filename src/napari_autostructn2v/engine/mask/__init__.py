"""From measured noise to a verdict and the structural mask that hides it."""
