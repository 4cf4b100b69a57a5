"""How the networks learn: data, objective, schedule and stages."""
