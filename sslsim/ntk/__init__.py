"""Empirical neural tangent kernels: exact in blocks, by parameter, of pairs, and sketched."""

from sslsim.ntk.kernel import empirical_ntk, layer_ntks, pair_ntk
from sslsim.ntk.sketch import SketchedKernel, sketched_ntk

__all__ = ["SketchedKernel", "empirical_ntk", "layer_ntks", "pair_ntk", "sketched_ntk"]
