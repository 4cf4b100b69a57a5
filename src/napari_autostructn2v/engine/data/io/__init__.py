"""Formats: how images are read from files and results written to them, region by region."""
