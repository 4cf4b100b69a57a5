"""The networks a stage can train."""
