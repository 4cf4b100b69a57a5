"""What is shown in the viewer, and how results are compared."""
