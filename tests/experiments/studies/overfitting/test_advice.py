"""Whether layers are overfit, on planted curves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.studies.overfitting.advice import advise
from experiments.studies.overfitting.tables import overfitting_summary
from experiments.summary import as_text
from sslsim.core.files import plain
from sslsim.runs.layers.curves import LayerCurves
from sslsim.runs.options import TrainOptions

LAYERS = ("layer1", "layer2", "layer3", "backbone", "projector")
EPS = (0.03, 0.3, 1.0)
RISE = np.array([0.2, 0.3, 0.4, 0.4, 0.4])


def curves(falls, reductions=None, seed=0, error=0.01, steps=(0, 10, 20, 30, 40)):
    """Layers that rise to 40 % and fall at the end by so much, and Delta R by so many nats."""
    accuracy = np.tile(RISE, (len(LAYERS), 1))
    accuracy[:, -1] -= [falls.get(layer, 0.0) for layer in LAYERS]
    reduction = np.tile([3.0, 6.0, 9.0, 9.0, 9.0], (len(EPS), len(LAYERS), 1))
    reductions = {} if reductions is None else reductions
    # At the eps of UMM alone: the others go the other way.
    reduction[1, :, -1] -= [reductions.get(layer, 0.0) for layer in LAYERS]
    reduction[[0, 2], :, -1] += 5.0
    return LayerCurves(
        Path(f"r{seed}"), TrainOptions(seed=seed), LAYERS, steps, {"linear": accuracy},
        {"linear": 0 * accuracy + error}, {"instance": {"test": reduction}}, 20,
    )  # fmt: skip


def line(advice):
    group = {"label": "runs", "layers": LAYERS, "seeds": [0], "advice": advice}
    text = as_text(overfitting_summary(plain({"eps": EPS, "groups": [group]})))
    return next(line for line in text.splitlines() if line.startswith("runs: overfit layers"))


def test_nothing_overfit_is_said_in_plain_words():
    found = advise([curves({})], EPS)
    assert (found["overfit"], found["features"], found["split"]) == ([], None, None)
    assert line(found) == (
        "runs: overfit layers: none (no linear probe is below its peak by more than its standard "
        "error: umm has nothing to undo)"
    )


def test_falls_within_the_standard_error_are_none():
    just = np.hypot(0.01, 0.01)
    assert advise([curves({"projector": 0.99 * just})], EPS)["overfit"] == []
    assert advise([curves({"projector": 1.01 * just})], EPS)["overfit"] == ["projector"]


@pytest.mark.parametrize(
    ("falls", "features", "split"),
    [
        (("projector",), "embedding", "layer3"),
        (("backbone",), "representation", "layer3"),
        (("layer3", "backbone"), "representation", "layer2"),
        (("layer2", "projector"), "embedding", "layer1"),
        (LAYERS, "embedding", None),
        (("layer2",), None, None),
    ],
)
def test_the_late_layer_and_the_last_sound_layer_are_advised(falls, features, split):
    depths = {layer: 0.1 + 0.02 * LAYERS.index(layer) for layer in falls}
    found = advise([curves(depths, dict.fromkeys(falls, 2.0))], EPS)
    assert found["overfit"] == [layer for layer in LAYERS if layer in falls]
    assert found["reduction_fell"] == found["overfit"]
    assert (found["features"], found["split"]) == (features, split)
    told = line(found)
    if split is not None:
        assert told.endswith(f"(sslsim umm --features {features} --split {split})")
    assert ("umm changes late layers only" in told) == (features is None)
    assert ("no layer is left to keep" in told) == (falls == LAYERS)


def test_delta_r_decides_between_late_layers_and_is_told_where_it_did_not_fall():
    falls = {"backbone": 0.1, "projector": 0.3}
    found = advise([curves(falls, {"backbone": 0.5})], EPS)
    assert (found["eps"], found["features"]) == (0.3, "representation")
    assert found["reduction_fell"] == ["backbone"]
    np.testing.assert_allclose(found["reduction_fall"], [0, 0, 0, 0.5, 0])
    assert "backbone, 10 ± 1.41 points down, Delta R 0.5 down; projector, 30" in line(found)
    found = advise([curves(falls)], EPS)
    assert found["features"] == "embedding"
    assert line(found).endswith("; Delta R, which umm raises, did not fall)")


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_falls_of_seeds_are_read_where_the_others_peak(count, seed):
    rng = np.random.default_rng(seed)
    group = []
    for place in range(count):
        one = curves({}, seed=place, error=1e-6)
        accuracy, rates = rng.random((len(LAYERS), 5)), rng.random((3, len(LAYERS), 5))
        group.append(
            replace(one, accuracies={"linear": accuracy}, rates={"instance": {"test": rates}})
        )
    found = advise(group, EPS)
    for layer in range(len(LAYERS)):
        falls, drops = [], []
        for own in group:
            others = [o.accuracies["linear"][layer] for o in group if o is not own]
            peak = np.mean(others, axis=0).argmax()
            accuracy, rates = own.accuracies["linear"][layer], own.rates["instance"]["test"]
            falls.append(accuracy[peak] - accuracy[-1])
            drops.append(rates[1, layer, peak] - rates[1, layer, -1])
        error = np.std(falls, ddof=1) / np.sqrt(count)
        assert found["fall"][layer] == pytest.approx(np.mean(falls), abs=1e-12)
        assert found["fall_error"][layer] == pytest.approx(error, abs=2e-6)
        assert found["reduction_fall"][layer] == pytest.approx(np.mean(drops), abs=1e-12)
        assert (LAYERS[layer] in found["overfit"]) == (found["fall"][layer] > error + 2e-6) or (
            abs(found["fall"][layer] - error) < 3e-6
        )


def test_noise_of_many_seeds_is_rarely_taken_for_overfitting():
    """With several seeds the peak of noise is no fall, as it is with one."""
    rng = np.random.default_rng(0)
    rates = []
    for count in (1, 3):
        overfit = 0
        for _ in range(200):
            group = []
            for place in range(count):
                one = curves({}, seed=place)
                noisy = 0.4 + 0.01 * rng.standard_normal((len(LAYERS), 5))
                group.append(replace(one, accuracies={"linear": noisy}))
            overfit += len(advise(group, EPS)["overfit"])
        rates.append(overfit / 200 / len(LAYERS))
    assert rates[1] < 0.1 < rates[0]


def test_runs_at_other_updates_are_left_out():
    other = curves({"projector": 0.3}, seed=1, steps=(0, 1, 2, 3, 4))
    assert advise([curves({}), other], EPS)["overfit"] == []
