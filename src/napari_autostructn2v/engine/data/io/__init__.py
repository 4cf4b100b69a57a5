"""File formats: images are read and results written region by region."""
