"""Reading images from napari layers and writing results to them."""
