"""Benchmarks: what the package costs beside the plain way of doing the same."""
