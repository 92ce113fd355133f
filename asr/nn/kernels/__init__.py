"""Loops compiled by numba for what torch does in too many small operations on CPU."""
