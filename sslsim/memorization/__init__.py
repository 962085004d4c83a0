"""Memorisation in self-supervised learning: alignment losses, SSLMem scores and what they rank."""

from sslsim.memorization.alignment import AlignmentLoss, alignment_loss, alignment_losses
from sslsim.memorization.image_sets import ScoredImages, pool_images, split_images
from sslsim.memorization.losses import ImageScores, Scoring, encoder_losses
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
from sslsim.memorization.split import score_split
from sslsim.memorization.subsampling import draw_members, score_pool, subsample_scores

__all__ = [
    "DISTANCES",
    "FORMS",
    "AlignmentLoss",
    "ImageScores",
    "Memorization",
    "ScoredImages",
    "Scoring",
    "alignment_loss",
    "alignment_losses",
    "distances",
    "draw_members",
    "encoder_losses",
    "looks_swapped",
    "most_memorized",
    "pool_images",
    "rank_points",
    "remaining_points",
    "representations",
    "same_architecture",
    "score_encoders",
    "score_pool",
    "score_split",
    "split_images",
    "ssl_mem",
    "subsample_scores",
]
