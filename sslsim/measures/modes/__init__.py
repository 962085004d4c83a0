"""Modes of an embedding: what they mean, what they are good for, and how far two agree."""
