"""The structural mask while it is looked at and edited."""
