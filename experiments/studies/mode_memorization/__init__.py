"""Which modes of an embedding memorise, and what removing them changes: ``memorization-modes``."""
