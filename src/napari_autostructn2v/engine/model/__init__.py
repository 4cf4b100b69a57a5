"""What was learned, and the file it is kept in."""
