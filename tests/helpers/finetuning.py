"""Small learners to undo the memorisation of, and runs that do."""

import json

import torch

from sslsim.core.seeds import seeded
from sslsim.data.datasets import load_images
from sslsim.data.views import Views, draw_views
from sslsim.encoders.build import build_encoder
from sslsim.methods.build import build_learner
from sslsim.methods.moco_v3 import MocoV3Learner
from sslsim.methods.vicregl import VicreglLearner
from sslsim.umm import UmmOptions, undo_memorization
from sslsim.umm.bilevel_losses import BilevelLosses
from sslsim.umm.outer_step import trained_names
from sslsim.umm.split import split_encoder

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
HEADS = {"projector": "mlp", "projector_widths": (6,)}
EXTRA = {"dino": {"prototypes": 12}, "swav": {"prototypes": 12}}


def learner_of(method, **changed):
    """A learner of a small convnet with a head."""
    if method in ("vicregl", "moco_v3"):  # few units, so that few ReLUs turn between differences
        encoder = build_encoder("convnet", SHAPE, 4, seed=0, widths=(5, 6), **HEADS)
        with seeded(1):
            if method == "moco_v3":
                return MocoV3Learner(encoder, hidden=8)
            return VicreglLearner(encoder, local_widths=(6, 5), matches=2)
    settings = {"encoder": "convnet", "widths": (5, 6), "seed": 0} | HEADS | EXTRA.get(method, {})
    return build_learner(method, SHAPE, 4, **(settings | changed))


def options_of(**changed):
    """Options of a short run."""
    settings = {"split": "layer1", "steps": 3, "batch": 8, "held_out": 12, "inner_lr": 0.05,
                "outer_lr": 0.01, "seed": 3}  # fmt: skip
    return UmmOptions(**(settings | changed))


def run(folder, learner, kind=None, data=None, held_out=None, **changed):
    """Fine-tune on twenty digits unless told otherwise."""
    data = load_images(limit=20) if data is None else data
    held_out = load_images(split="test", limit=24) if held_out is None else held_out
    options = options_of(**changed)
    return undo_memorization(learner, data, held_out, kind or learner.views, options, folder)


def records(folder):
    """Lines that a run has written."""
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def state_of(module):
    """Copy of the state of a module."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def losses_of(learner, n=6, seed=0, kind=None, dtype=torch.float64, **changed):
    """BilevelLosses of one batch, in double precision unless told otherwise."""
    images = load_images(limit=n).images
    views = draw_views(images, kind or learner.views, torch.Generator().manual_seed(seed))
    views = Views(tuple(view.to(dtype) for view in views.views), views.boxes)
    options = options_of(**changed)
    learner = learner.to(dtype)
    split = split_encoder(learner.encoder, options.split)
    return BilevelLosses(
        learner, split, options, views, None, trained_names(learner, split, options)
    )
