"""Jobs started by buttons, and the session and thread that run them."""
