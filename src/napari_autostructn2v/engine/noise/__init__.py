"""Measures the noise of an image: its strength, correlation, line offsets and waves."""
