"""Measures of embeddings in NumPy, an independent counterpart of ``sslsim.measures``."""

from theory.metrics.embeddings import alignment, lidar, linear_cka, subspace_alignment, uniformity
from theory.metrics.spectra import (
    alpha_req,
    covariance_spectrum,
    cross_spectrum,
    effective_rank,
    rank_me,
)

__all__ = [
    "alignment",
    "alpha_req",
    "covariance_spectrum",
    "cross_spectrum",
    "effective_rank",
    "lidar",
    "linear_cka",
    "rank_me",
    "subspace_alignment",
    "uniformity",
]
