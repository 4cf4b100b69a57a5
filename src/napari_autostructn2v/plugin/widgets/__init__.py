"""Small Qt widgets, independent of denoising."""
