"""What is written about a run: reports, pages of pictures, scripts, experiment folders."""
