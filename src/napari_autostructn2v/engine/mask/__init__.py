"""Turns measured noise into a verdict and a structural mask."""
