"""Pictures, with Matplotlib."""
