"""The floor that alone knows Qt and napari; importing it imports no torch."""
