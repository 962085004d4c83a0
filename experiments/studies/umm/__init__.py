"""Undoing memorisation of trained networks: ``umm`` and ``umm-sweep``."""
