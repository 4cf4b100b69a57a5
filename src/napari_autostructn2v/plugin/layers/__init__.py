"""napari's layers as images to read and results to write."""
