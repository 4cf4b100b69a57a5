"""The mask editor."""
