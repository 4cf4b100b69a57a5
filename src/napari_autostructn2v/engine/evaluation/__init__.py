"""Quality of a result, estimated without the clean image."""
