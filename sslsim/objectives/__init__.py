"""Objectives: plain functions of the embeddings of a whole batch.

They are independent of networks, optimisers and processes: a distributed job gathers its embeddings
first. Call them outside ``torch.autocast``, which would round their matrix products to half
precision. Embeddings in half precision are converted to float32.
"""

from sslsim.objectives._barlow_twins import barlow_twins
from sslsim.objectives._contrastive import moco_v3, simclr, spectral_contrastive
from sslsim.objectives._dino import dino, dino_center
from sslsim.objectives._lejepa import lejepa, sigreg
from sslsim.objectives._mae import mae
from sslsim.objectives._prediction import byol, simsiam
from sslsim.objectives._supervised import supervised
from sslsim.objectives._swav import sinkhorn, swav
from sslsim.objectives._vicreg import vicreg
from sslsim.objectives._vicregl import map_places, vicregl

__all__ = [
    "barlow_twins",
    "byol",
    "dino",
    "dino_center",
    "lejepa",
    "mae",
    "map_places",
    "moco_v3",
    "sigreg",
    "simclr",
    "simsiam",
    "sinkhorn",
    "spectral_contrastive",
    "supervised",
    "swav",
    "vicreg",
    "vicregl",
]
