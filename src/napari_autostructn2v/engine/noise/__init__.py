"""What the noise of an image is: its strength, its correlation, its lines and waves."""
