"""A form with a control for each field of the config."""
