"""Empirical neural tangent kernels: exact and in blocks, by parameter, of pairs, and sketched."""

from sslsim.ntk.kernel import empirical_ntk, layer_ntks, pair_ntk

__all__ = ["empirical_ntk", "layer_ntks", "pair_ntk"]
