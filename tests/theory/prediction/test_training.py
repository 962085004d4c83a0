"""Predictions for other than plain training, end to end from pairs."""

import numpy as np
import pytest

from sslsim.measures.steps import half_rise_times
from sslsim.training.full_batch import train_linear
from theory import predict_steps, predict_steps_from
from theory.linear import deep, orthogonalised, preconditioned
from theory.linear.deep import balanced_factors
from theory.prediction.training import Training


def planted(n=300, scales=(1.0, 0.75, 0.5, 0.3, 0.2), seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, len(scales))) * scales
    return [z + 0.1 * rng.standard_normal(z.shape) for _ in range(2)]


X, Y = planted()
W0 = 1e-3 * np.random.default_rng(1).standard_normal((3, 5))


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.9},
        {"weight_decay": 0.1},
        {"off_diagonal": 0.1},
        {"off_diagonal": 0.1, "momentum": 0.5, "weight_decay": 0.02},
        {"precondition": ("embedding", 0.5, 0.05)},
        {"precondition": ("input", 0.5, 0.05), "momentum": 0.5},
        {"precondition": (("embedding", 1.0, 0.1), ("input", 0.5, 0.05))},
        {"optimizer": "muon"},
        {"optimizer": "muon", "momentum": 0.9},
    ],
    ids=str,
)
def test_full_batch_training_steps_when_predicted(options):
    prediction = predict_steps_from(X, Y, W0, **options)
    last = int(1.2 * prediction.step_iterations.max())
    run = train_linear(X, Y, W0, prediction.learning_rate, last, **options)
    measured = half_rise_times(run.iterations, run.eigenvalues, top=prediction.ceilings)
    np.testing.assert_allclose(prediction.step_iterations, measured, rtol=1e-3)
    # Curves, maps and loss are those of the same training at a small learning rate.
    curves = prediction.curves.descent_curves(
        run.iterations, prediction.learning_rate, options.get("momentum", 0.0)
    )
    np.testing.assert_allclose(curves, run.eigenvalues, atol=1e-6)
    plain = predict_steps_from(X, Y, W0, learning_rate=prediction.learning_rate)
    assert not np.allclose(plain.step_iterations, measured, rtol=0.02)


@pytest.mark.parametrize("factor", [2.0**-6, 2.0**9])
@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 16, "momentum": 0.5},
        {"weight_decay": 0.1},
        {"depth": 3},
        {"precondition": ("embedding", 0.5, 0.05)},
        {"precondition": ("input", 0.25, 0.05)},
        {"precondition": (("embedding", 0.5, 0.05), ("input", 0.25, 0.05)), "relative_ridge": True},
        {"optimizer": "muon", "momentum": 0.5},
    ],
    ids=str,
)
def test_trainings_scale_with_the_data_and_weights(options, factor):
    found = predict_steps_from(X, Y, W0, **options)
    scaled, power = dict(options), 2.0  # flow times are divided by this power of the factor
    if "weight_decay" in options:
        scaled["weight_decay"] *= factor**2
    if "depth" in options:
        power = 2.0 / options["depth"]
    if options.get("precondition", "")[:1] == ("input",):
        scaled["precondition"] = ("input", 0.25, 0.05 * factor**2)
        power = 1.5
    if "relative_ridge" in options:
        power = 1.5
    if "optimizer" in options:
        power = 1.0
    other = predict_steps_from(factor * X, factor * Y, W0 / factor, **scaled)
    for name in ("step_times", "step_time_low", "learning_rate", "stable_learning_rate"):
        expected = getattr(found, name) * factor**-power
        np.testing.assert_allclose(getattr(other, name), expected, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(other.step_iterations, found.step_iterations, rtol=1e-9)
    np.testing.assert_allclose(other.ceilings, found.ceilings, rtol=1e-9)
    t = found.step_times
    np.testing.assert_allclose(other.loss(t * factor**-power), found.loss(t), rtol=1e-9)
    np.testing.assert_allclose(
        factor * other.weights(t * factor**-power), found.weights(t), rtol=1e-7, atol=1e-12
    )


def test_batches_of_fresh_views_are_noisier_than_batches_of_fixed_pairs():
    rng = np.random.default_rng(2)
    views = X[:, None] + 0.3 * rng.standard_normal((300, 8, 5))
    fresh = predict_steps_from(views, None, W0, batch_size=300)
    assert fresh.ceilings.max() < 0.999  # a full batch of new views is still a draw
    small = predict_steps_from(views, None, W0, batch_size=10)
    assert np.all(small.ceilings < fresh.ceilings)
    with pytest.raises(ValueError, match="expected at least 4 views"):
        predict_steps_from(views[:, :2], None, W0, batch_size=10)


def test_batches_lower_the_ceilings_and_delay_the_last_step():
    full = predict_steps_from(X, Y, W0)
    assert full.ceilings.tolist() == [1.0, 1.0, 1.0]
    prediction = predict_steps_from(X, Y, W0, batch_size=8)
    assert prediction.ceilings.max() < 0.9
    assert prediction.step_times[-1] > 1.03 * full.step_times[-1]
    # As large a batch as there are pairs is the full batch.
    whole = predict_steps_from(X, Y, W0, batch_size=300)
    np.testing.assert_allclose(whole.ceilings, 1.0, atol=1e-5)
    np.testing.assert_allclose(whole.step_times, full.step_times, rtol=1e-2)


@pytest.mark.parametrize("layers", [2, 3])
def test_layers_step_when_predicted(layers):
    prediction = predict_steps_from(X, Y, 100 * W0, depth=layers, momentum=0.5, learning_rate=0.01)
    factors = tuple(
        balanced_factors(
            prediction.initial_singular_values,
            prediction.left,
            prediction.eigenvectors,
            [3] * (layers - 1),
            np.random.default_rng(2),
        )
    )
    last = int(1.1 * prediction.step_iterations.max())
    run = train_linear(X, Y, factors, 0.01, last, momentum=0.5)
    measured = half_rise_times(run.iterations, run.eigenvalues)
    np.testing.assert_allclose(np.sort(prediction.step_iterations), measured, rtol=1e-2)
    np.testing.assert_allclose(
        prediction.step_times,
        deep.step_times(prediction.eigenvalues, prediction.initial_singular_values, layers),
    )
    at_steps = prediction.eigenvalue_curves(prediction.step_times).diagonal()
    np.testing.assert_allclose(at_steps, 0.5, atol=1e-6)


def test_curves_loss_weights_and_plateaus_fit_together():
    prediction = predict_steps_from(X, Y, W0, off_diagonal=0.1)
    times = np.linspace(0.0, prediction.step_times.max() * 1.1, 7)
    gamma = (X.T @ Y + Y.T @ X) / 600
    maps = prediction.weights(times)
    corr = maps @ gamma @ np.swapaxes(maps, -1, -2)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(corr)[:, ::-1], prediction.eigenvalue_curves(times), atol=1e-9
    )
    error = (corr - np.eye(3)) ** 2 * np.where(np.eye(3) > 0, 1.0, 0.1)
    np.testing.assert_allclose(error.sum(axis=(1, 2)), prediction.loss(times), atol=1e-9)
    half = [prediction.eigenvalue_curves(t)[j] for j, t in enumerate(prediction.step_times)]
    np.testing.assert_allclose(half, 0.5, atol=1e-6)
    flat = [p for p in prediction.plateaus if np.isfinite(p.end)]
    assert [p.modes for p in flat] == [0, 1, 2]
    for plateau in flat:
        middle = (plateau.start + plateau.end) / 2
        assert plateau.loss == pytest.approx(float(prediction.loss(middle)))
    # One mode settles at d / (1 + lambda_off (d - 1)) = 2.5.
    assert prediction.eigenvalue_curves(flat[1].end * 0.9)[0] == pytest.approx(2.5, rel=0.02)
    np.testing.assert_allclose(
        prediction.final_weights() @ gamma @ prediction.final_weights().T, np.eye(3), atol=0.02
    )


def test_the_default_is_plain_theory_to_the_bit():
    first, second = predict_steps(X, Y, 3), predict_steps(X, Y, 3, momentum=0.0, depth=1)
    assert first.curves is None
    assert first.training.plain
    for name in ("step_times", "step_time_low", "step_time_high", "step_iterations"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.plateaus == second.plateaus


def test_intervals_move_with_the_step_times():
    plain, decayed = (predict_steps_from(X, Y, W0, weight_decay=decay) for decay in (0.0, 0.1))
    ratio = decayed.step_times / plain.step_times
    assert np.all(ratio > 1)
    np.testing.assert_allclose(decayed.step_time_low, plain.step_time_low * ratio)
    np.testing.assert_allclose(decayed.step_time_high, plain.step_time_high * ratio)


def test_orthogonalised_descent_has_its_closed_form():
    prediction = predict_steps_from(X, Y, W0, optimizer="muon", momentum=0.9)
    gamma = prediction.eigenvalues
    left, s0 = orthogonalised.equivalent_initialization(W0, gamma, prediction.eigenvectors)
    np.testing.assert_allclose(prediction.initial_singular_values, s0, rtol=1e-9)
    np.testing.assert_allclose(prediction.left, left, atol=1e-9)
    np.testing.assert_allclose(prediction.step_times, np.sqrt(0.5 / gamma) - s0, rtol=1e-9)
    rate = prediction.learning_rate  # an update takes it whatever the momentum is
    np.testing.assert_allclose(prediction.step_iterations * rate, prediction.step_times, rtol=0.02)
    stable = orthogonalised.stable_learning_rate(gamma, 0.9)
    assert prediction.stable_learning_rate == pytest.approx(stable)
    assert rate == pytest.approx(0.2 * stable)
    times = np.linspace(0.0, 1.5 * prediction.step_times.max(), 7)
    cross = (X.T @ Y + Y.T @ X) / 600
    maps = prediction.weights(times)
    corr = maps @ cross @ np.swapaxes(maps, -1, -2)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(corr)[:, ::-1], prediction.eigenvalue_curves(times), atol=1e-9
    )
    loss = ((corr - np.eye(3)) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(loss, prediction.loss(times), atol=1e-12)
    np.testing.assert_allclose(prediction.ceilings, 1.0)
    assert [plateau.modes for plateau in prediction.plateaus] == [0, 3]


def test_intervals_of_orthogonalised_descent_are_those_of_the_root_of_the_eigenvalue():
    plain = predict_steps_from(X, Y, W0)
    muon = predict_steps_from(X, Y, W0, optimizer="muon")
    for end in ("low", "high"):
        ratio = getattr(plain, f"step_time_{end}") / plain.step_times
        found = getattr(muon, f"step_time_{end}") / muon.step_times
        np.testing.assert_allclose(found, np.sqrt(ratio))
    with pytest.warns(UserWarning, match="Gamma has 1 positive mode"):
        rare = predict_steps_from(
            [[1.0, 1.0], [-1.0, 1.0]], [[1.0, -1.0], [-1.0, -1.0]], 1e-3 * np.eye(2),
            optimizer="muon",
        )  # fmt: skip
    assert rare.step_times[1] == rare.step_iterations[1] == rare.step_time_high[1] == np.inf
    assert rare.step_time_low[1] >= 0


def test_a_relative_ridge_is_a_share_of_the_largest_eigenvalue():
    sides = (("embedding", 1.0, 0.1), ("input", 0.5, 0.2))
    relative = predict_steps_from(X, Y, W0, precondition=sides, relative_ridge=True)
    ridge = 0.2 * relative.eigenvalues[0]
    sides = (sides[0], ("input", 0.5, ridge))
    absolute = predict_steps_from(X, Y, W0, precondition=sides)
    np.testing.assert_allclose(relative.step_times, absolute.step_times, rtol=1e-9)
    assert relative.training.sides["input"] == pytest.approx((0.5, ridge))
    assert not relative.training.relative_ridge


def test_steps_with_both_preconditioners_are_near_their_closed_form():
    embedding, inputs = (1.0, 0.1), (0.5, 0.1)
    sides = (("embedding", *embedding), ("input", *inputs))
    prediction = predict_steps_from(X, Y, W0, precondition=sides)
    expected = preconditioned.two_sided_step_times(
        prediction.eigenvalues, prediction.initial_singular_values, embedding, inputs
    )
    np.testing.assert_allclose(prediction.step_times, expected, rtol=0.1)
    # A power of zero on a side is no preconditioner there.
    one = predict_steps_from(X, Y, W0, precondition=(sides[0], ("input", 0.0, 1.0)))
    other = predict_steps_from(X, Y, W0, precondition=sides[0])
    np.testing.assert_allclose(one.step_times, other.step_times, rtol=1e-6)


def test_modes_below_the_weight_decay_never_step():
    prediction = predict_steps_from(X, Y, W0, weight_decay=2.0)  # learned: gamma above 1/2
    assert prediction.ceilings[-1] == 0.0
    assert prediction.step_times[-1] == np.inf
    assert prediction.step_iterations[-1] == np.inf
    assert prediction.step_time_high[-1] == np.inf


def test_a_large_learning_rate_with_small_batches_warns():
    with pytest.warns(UserWarning, match="learning rate is large for batches of 2"):
        predict_steps_from(X, Y, W0, batch_size=2, learning_rate=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"batch_size": 301}, "batch_size is 301; expected from 1 to 300"),
        ({"momentum": 1.0}, "momentum is 1.0; expected a number from 0 to below 1"),
        ({"off_diagonal": 0.0}, "off_diagonal is 0.0; expected a finite number above zero"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"depth": 1.5}, "depth is 1.5"),
        ({"depth": 2, "off_diagonal": 0.5}, "depth is 2 with off_diagonal; expected it with"),
        ({"precondition": ("input", 1.0, 0.1)}, "power is 1.0 on the input side"),
        ({"precondition": (("input", 0.5, 1), ("input", 0.5, 1))}, "side 'input' twice"),
        ({"precondition": (("left", 0.5, 1),)}, "side 'left'; expected embedding or input"),
        ({"relative_ridge": True}, "relative_ridge is given without precondition of the input"),
        (
            {"precondition": ("embedding", 1.0, 0.1), "relative_ridge": True},
            "relative_ridge is given without precondition of the input",
        ),
        ({"optimizer": "adam"}, "optimizer is 'adam'; expected sgd or muon"),
        ({"optimizer": "muon", "weight_decay": 0.1}, "optimizer is muon with weight_decay; exp"),
        ({"optimizer": "muon", "batch_size": 8}, "optimizer is muon with batch_size; expected"),
        ({"optimizer": "muon", "depth": 2}, "optimizer is muon with depth; expected it with mom"),
        ({"optimizer": "muon", "off_diagonal": 0.5}, "optimizer is muon with off_diagonal"),
        (
            {"optimizer": "muon", "precondition": ("embedding", 1.0, 0.1)},
            "optimizer is muon with precondition; expected it with momentum only",
        ),
        (
            {"precondition": ("embedding", 1.0, 0.1), "batch_size": 8},
            "precondition is given with batch_size",
        ),
    ],
    ids=str,
)
def test_what_has_no_theory_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        predict_steps_from(X, Y, W0, **options)
    if "batch_size" not in options:
        with pytest.raises(ValueError, match=message):
            Training(**options)
