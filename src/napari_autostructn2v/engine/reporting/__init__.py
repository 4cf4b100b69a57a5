"""Reports, pages, scripts and folders that tell of a run; nothing here trains."""
