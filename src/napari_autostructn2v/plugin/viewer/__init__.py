"""Layers added to the viewer, and the comparison of results."""
