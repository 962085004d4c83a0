"""The law of a mode at a checkpoint, by the method of its run and what was measured."""

from dataclasses import replace
from math import cos, log, nan, pi
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from forecasts import planted
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.forecasts.laws import learning_rate, mode_law, momentum_of
from sslsim.measures.growth import growth
from sslsim.measures.snapshots import HeldOutPairs
from sslsim.objectives import barlow_twins, simclr, spectral_contrastive, vicreg
from sslsim.runs.options import TrainOptions
from theory.growth.adaptation import adaptation_of

METHODS = {
    "barlow_twins": (barlow_twins, "cross"),
    "simclr": (lambda z, w: simclr(z, w, similarity="dot"), "cross"),
    "vicreg": (vicreg, "covariance"),
    "spectral": (spectral_contrastive, "cross"),
}


def planted_mode(method="barlow_twins", lam=0.01, known=False, before=()):
    """History and rates of a mode of a diagonal layer, behind those ``before`` it.

    Its pixels are all signs, alike in both views, which have eigenvalues of 1.
    """
    values = [*before, lam]
    signs = torch.tensor([[1.0, 1, 1], [1, -1, 1], [-1, 1, 1], [-1, -1, 1]])[:, [0, 1]]
    signs = signs[:, : len(values)].double()
    layer = torch.nn.Linear(len(values), len(values), bias=False).double()
    layer.weight.data = torch.tensor(values, dtype=torch.float64).sqrt().diag()
    objective, spectrum = METHODS[method]
    history = replace(
        planted([values], ceiling=1.0 if known else None),
        run=SimpleNamespace(options=TrainOptions(method=method)),
        objective=objective, spectrum=spectrum,
    )  # fmt: skip
    mode = len(before)
    now = growth(layer, HeldOutPairs(signs, signs), objective, [mode], spectrum=spectrum)
    assert float(now.lam[mode]) == pytest.approx(lam, rel=1e-12)
    return history, now


def law_of(*args, adapts=0.3, **options):
    history, now = planted_mode(*args, **options)
    return mode_law(history, 0, now.lam.shape[0] - 1, now, adapts), history, now


def shown_pull(history, now, lam):
    """Pull at other eigenvalues in units of that now, by differences of the loss."""
    mode = now.lam.shape[0] - 1
    first, u = float(now.lam[mode]), now.directions[:, mode]

    def slope(scale):
        losses = [
            float(history.objective(*(z + (at - 1) * torch.outer(z @ u, u) for z in (now.z,) * 2)))
            for at in (scale * (1 + 1e-5), scale * (1 - 1e-5))
        ]
        return -(losses[0] - losses[1]) / (2e-5 * scale**2)

    return np.array([slope((value / first) ** 0.5) for value in lam]) / slope(1.0)


def knots(lam):
    """Eigenvalues at which the curve of a pull is taken, up to 6."""
    return np.geomspace(lam, 6.0, 14)


@pytest.mark.parametrize("step", [0, 3, 9, 10])
def test_the_learning_rate_is_that_of_the_next_update_or_the_last(step):
    options = TrainOptions(lr=0.2, schedule="cosine", steps=10)
    assert learning_rate(options, step) == pytest.approx(0.1 * (1 + cos(pi * min(step, 9) / 10)))


@pytest.mark.parametrize(("optimizer", "expected"), [("sgd", 0.8), ("adamw", 0.0), ("lars", 0.0)])
def test_only_sgd_has_a_law_of_its_momentum(optimizer, expected):
    assert momentum_of(TrainOptions(optimizer=optimizer, momentum=0.8)) == expected


@pytest.mark.parametrize("known", [True, False])
def test_barlow_twins_pulls_along_a_line_to_its_ceiling(known):
    law, _, now = law_of(known=known)
    assert law.lam == pytest.approx(0.01)
    assert law.ceiling == pytest.approx(1.0, rel=1e-9)
    at = np.array([0.01, 0.3, 0.9])
    np.testing.assert_allclose(law.pull(at), 1 - at, rtol=1e-9)
    assert law.pull(np.array([0.99999, 2.0])).tolist() == [1e-4, 1e-4]  # never quite 0
    assert law.shares.sum() == pytest.approx(float(now.own[0]), rel=1e-12)


def test_the_ceiling_is_that_of_the_last_learned_mode_where_theory_knows_none():
    assert law_of(before=(0.8,))[0].ceiling == pytest.approx(0.8)
    assert law_of(before=(0.8,), known=True)[0].ceiling == 1.0
    law, _, _ = law_of("spectral", before=(0.7,))
    assert law.ceiling == pytest.approx(0.7)


@settings(max_examples=20)
@given(st.floats(-3.0, 2.0))
def test_factors_have_the_measured_adaptation_within_what_lasts(adapts):
    law, _, now = law_of(adapts=adapts)
    assert law.shares.sum() == pytest.approx(float(now.own[0]), rel=1e-9)
    if adapts > 0:
        assert adaptation_of(law.shares) == pytest.approx(min(adapts, 0.5), abs=1e-9)
        assert np.isinf(law.rooms).all()
    else:
        assert len(law.shares) == 1
        assert law.rooms.tolist() == [np.inf]


@pytest.mark.parametrize("adapts", [nan, np.inf])
def test_where_the_adaptation_cannot_be_told_features_are_fixed(adapts):
    law, _, _ = law_of(adapts=adapts)
    assert len(law.shares) == 1
    assert law.rooms.tolist() == [np.inf]


def test_simclr_pulls_by_the_mean_of_its_curve_and_the_line():
    law, history, now = law_of("simclr")
    at = knots(0.01)
    line = np.maximum(1 - at / law.ceiling, 1e-4)
    curve = np.maximum(shown_pull(history, now, at), 0)
    np.testing.assert_allclose(law.pull(at), (curve + line / line[0]) / 2, rtol=1e-4, atol=1e-6)
    assert curve[-1] < 0.1 * curve[0]  # alone, a mode saturates
    # Where its curve pulls down, it counts as nothing.
    history = replace(history, objective=spectral_contrastive)
    curve = shown_pull(history, now, at)
    assert curve[-1] < 0
    law = mode_law(history, 0, 0, now, 0.3)
    line = np.maximum(1 - at / law.ceiling, 1e-4)
    expected = (np.maximum(curve, 0) + line / line[0]) / 2
    np.testing.assert_allclose(law.pull(at), expected, rtol=1e-4, atol=1e-6)


def test_vicreg_pulls_by_its_hinge_and_by_decorrelation_once_that_is_done():
    law, history, now = law_of("vicreg")
    assert law.ceiling == law_of("vicreg", before=(1.5,))[0].ceiling == 1.0
    at = knots(0.01)
    line = np.maximum(1 - at / law.ceiling, 1e-4)
    curve = shown_pull(history, now, at)
    expected = np.maximum(curve, 0.3 * line / line[0])
    np.testing.assert_allclose(law.pull(at), expected, rtol=1e-4, atol=1e-6)
    # Far below the hinge it goes with the inverse of the standard deviation.
    assert law.pull(at[4:5])[0] == pytest.approx((at[4] / 0.01) ** -0.5, rel=0.02)


def test_any_other_loss_pulls_by_the_curve_that_it_shows_and_saturates_at_its_zero():
    history, now = planted_mode("spectral")
    # Its pull is zero at a quarter.
    history = replace(history, objective=lambda z, w: spectral_contrastive(2 * z, 2 * w))
    law = mode_law(history, 0, 0, now, 0.3)
    at = knots(0.01)
    curve = shown_pull(history, now, at)
    np.testing.assert_allclose(law.pull(at), curve, rtol=1e-4, atol=1e-6)
    place = int(np.argmax(curve <= 0))
    assert at[place - 1] <= law.ceiling <= at[place] < 0.5
    # Between the knots it is a line in the logarithm.
    middle = np.sqrt(at[1:] * at[:-1])
    np.testing.assert_allclose(law.pull(middle), (curve[1:] + curve[:-1]) / 2, rtol=1e-4, atol=1e-6)


def test_a_mode_that_is_pulled_down_never_steps():
    law, _, now = law_of("spectral", lam=1.5)
    assert float(now.own[0]) < 0
    assert not law.shares.any()
    assert law.time_to(2.0, 0.01, 0.0) == np.inf
    assert law.pull(np.array([1.5])).tolist() == [1.0]  # the line, in units of now


def test_the_time_of_a_fixed_kernel_is_logistic_and_starts_with_the_velocity():
    law, _, now = law_of(adapts=0.0, known=True)
    rate = float(now.own[0]) / (1 - 0.01)
    expected = (log(0.5 / 0.5) - log(0.01 / 0.99)) / rate
    assert law.time_to(0.5, 1e-6, 0.0) == pytest.approx(expected, rel=1e-4)
    assert law.time_to(0.001, 1e-6, 0.0) == 0.0  # it is there already
    slow, own, fast = (
        law.time_to(0.5, 0.002, 0.9, velocity=share * float(now.own[0])) for share in (0.1, 1, 2)
    )
    assert fast < own < slow
