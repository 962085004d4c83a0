"""The formulas of this package derived by SymPy, as executable proofs."""

from theory.symbolic import matrix, scalar

__all__ = ["matrix", "scalar"]
