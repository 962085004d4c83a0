"""Memorisation in self-supervised learning: alignment losses, SSLMem scores and what they rank."""

from sslsim.memorization.alignment import AlignmentLoss, alignment_loss, alignment_losses
from sslsim.memorization.ranking import most_memorized, rank_points, remaining_points
from sslsim.memorization.represent import DISTANCES, distances, representations
from sslsim.memorization.scores import (
    FORMS,
    Memorization,
    looks_swapped,
    same_architecture,
    score_encoders,
    ssl_mem,
)
from sslsim.memorization.subsampling import draw_members, subsample_scores

__all__ = [
    "DISTANCES",
    "FORMS",
    "AlignmentLoss",
    "Memorization",
    "alignment_loss",
    "alignment_losses",
    "distances",
    "draw_members",
    "looks_swapped",
    "most_memorized",
    "rank_points",
    "remaining_points",
    "representations",
    "same_architecture",
    "score_encoders",
    "ssl_mem",
    "subsample_scores",
]
