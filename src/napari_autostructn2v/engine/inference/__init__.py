"""What a trained network makes of images of any size."""
