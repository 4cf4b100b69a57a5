"""The headless engine: torch, numpy and scipy; it knows neither Qt nor napari."""
