"""Images and results: read region by region from any array or file, sampled, split and written."""
