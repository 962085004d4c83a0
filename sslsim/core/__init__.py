"""Basis of all other packages: files, locks, checkpoints, seeds, processes, checks.

Its modules are imported by name; nothing is exported here.
"""

__all__: list[str] = []
