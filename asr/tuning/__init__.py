"""Fits what decoding applies, on held-out data."""
