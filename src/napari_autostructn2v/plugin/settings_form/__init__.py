"""A control for each field of the config."""
