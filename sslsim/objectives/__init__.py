"""Objectives: plain functions of the embeddings of a whole batch.

They know nothing of networks, optimisers or processes: a distributed job gathers its embeddings
first. Call them outside ``torch.autocast``, which would round their matrix products to half
precision; embeddings of half precision are lifted to float32.
"""

from sslsim.objectives.barlow_twins import barlow_twins
from sslsim.objectives.byol import byol
from sslsim.objectives.dino import dino, dino_center
from sslsim.objectives.mae import mae
from sslsim.objectives.simclr import simclr
from sslsim.objectives.spectral import spectral_contrastive
from sslsim.objectives.supervised import supervised
from sslsim.objectives.swav import sinkhorn, swav
from sslsim.objectives.vicreg import vicreg
from sslsim.objectives.vicregl import map_places, vicregl

__all__ = [
    "barlow_twins",
    "byol",
    "dino",
    "dino_center",
    "mae",
    "map_places",
    "simclr",
    "sinkhorn",
    "spectral_contrastive",
    "supervised",
    "swav",
    "vicreg",
    "vicregl",
]
