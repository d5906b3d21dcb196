"""In even."""
