"""Measures of embeddings in NumPy: the witness to ``sslsim.measures``."""
