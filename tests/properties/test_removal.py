"""What holds of every choice of images to leave out."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.removal import removed_counts
from sslsim.data.datasets import Images
from sslsim.memorization import remaining_points
from sslsim.runs.cache import training_identity
from sslsim.runs.options import LearnerOptions

SCORES = st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=30)


@given(SCORES, st.data())
def test_removals_are_nested_and_the_ends_complementary(scores, data):
    n = len(scores)
    small = data.draw(st.integers(0, n))
    large = data.draw(st.integers(small, n))
    seed = data.draw(st.integers(0, 5))
    everything = set(range(n))
    for which in ("most", "least", "random"):
        one, other = (
            set(remaining_points(scores, k, which, seed=seed).tolist()) for k in (small, large)
        )
        assert other <= one
        assert len(one) == n - small
    most, least = (
        set(remaining_points(scores, k, which, seed=seed).tolist())
        for which, k in (("most", small), ("least", n - small))
    )
    assert most | least == everything
    assert not most & least
    removed = everything - most
    if removed and most:
        values = np.array(scores)
        assert values[list(removed)].min() >= values[list(most)].max()
    assert remaining_points(scores, 0, seed=seed).tolist() == sorted(everything)


def test_random_removals_are_those_of_their_seed():
    scores = [0.5 * i for i in range(40)]
    found = [remaining_points(scores, 20, "random", seed=seed).tolist() for seed in (0, 1, 2, 1)]
    assert found[1] == found[3]
    assert found[0] != found[1] != found[2] != found[0]


CHANGES = {
    "stem": "imagenet", "residual_gain": 0.0,
    "method": "byol", "encoder": "mlp", "views": "weak", "dim": 3, "widths": (5,), "steps": 7,
    "parameterization": "ntk", "projector": "mlp", "projector_widths": (5,), "norm": "none",
    "init_scale": 0.1, "init_which": "last", "init_batch_norm": "gain", "temperature": 0.3,
    "barlow_form": "published", "similarity": "dot", "prototypes": 9, "teacher_momentum": 0.5,
    "batch": 5, "optimizer": "sgd", "lr": 0.7, "momentum": 0.1, "weight_decay": 0.1, "warmup": 3,
    "schedule": "cosine", "accumulate": 2, "fixed_views": True, "standardise": False,
    "precision": "bfloat16", "channels_last": True, "compile": True,
    "clip_norm": 2.0, "precondition_embedding": "covariance", "precondition_embedding_power": 0.3,
    "precondition_embedding_ridge": 0.2, "precondition_inputs": "covariance",
    "precondition_inputs_power": 0.4, "precondition_inputs_ridge": 0.3,
    "module": "mine:net", "weights": Path("w.pt"), "output": "z",
}  # fmt: skip


def test_trainings_that_differ_in_anything_are_no_one_cell():
    data = Images(torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2), torch.arange(2), "x")
    options = MemorizationOptions()
    same = {"seed", "root", "device", "cache", "stream"}
    same |= {"data", "limit", "split", "size"}  # told by the images
    assert set(CHANGES) | same == {field.name for field in fields(LearnerOptions)}
    changed = [replace(options, **{name: value}) for name, value in CHANGES.items()]
    whole = [
        training_identity(options, data, 0),
        training_identity(options, data, 1),
        training_identity(options, replace(data, labels=data.labels + 1), 0),
        training_identity(options, replace(data, images=data.images + 1), 0),
        training_identity(options, data, 0, penalty=1.0),
        *(training_identity(one, data, 0) for one in changed),
    ]
    assert len({json.dumps(one, sort_keys=True) for one in whole}) == len(whole)
    moved = replace(
        options, root=Path("x"), device="cuda", out=Path("y"), cache=Path("z"), stream="always"
    )
    assert training_identity(moved, data, 0) == whole[0]


@given(st.lists(st.sampled_from([0.02, 0.1, 0.25, 0.5, 0.9]), min_size=1, unique=True),
       st.integers(100, 500))  # fmt: skip
def test_counts_are_the_shares_of_the_pool(shares, pool):
    found = removed_counts(("most",), shares, pool)
    assert [share for share, _ in found] == sorted(shares)
    for share, removed in found:
        assert abs(removed - share * pool) <= 0.5
