"""Formulas derived by SymPy, to be executed rather than believed."""
