"""Pictures; matplotlib is an extra."""
