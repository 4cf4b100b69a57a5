"""Training of the networks: data, objectives, schedule and stages."""
