"""Positive pairs: their matrix Gamma, its spectrum and moments, and pairs with a known Gamma.

The function ``spectrum`` is in the module of the same name.
"""

from theory.pairs.gamma import (
    Pairs,
    apply_cross_correlation,
    cross_correlation,
    read_pairs,
    stacked_views,
    unit_energy,
)
from theory.pairs.moments import Moments, pair_moments
from theory.pairs.planted import planted_pairs, planted_spectrum
from theory.pairs.spectrum import Spectrum, block_krylov, count_above
from theory.pairs.views import view_pairs, views_gamma

__all__ = [
    "Moments",
    "Pairs",
    "Spectrum",
    "apply_cross_correlation",
    "block_krylov",
    "count_above",
    "cross_correlation",
    "pair_moments",
    "planted_pairs",
    "planted_spectrum",
    "read_pairs",
    "stacked_views",
    "unit_energy",
    "view_pairs",
    "views_gamma",
]
