"""Images and results: reading by region from arrays and files, sampling, splitting, writing."""
