"""Training a linear map on pairs, against descents written out by hand."""

import numpy as np
import pytest
import torch
from scipy.linalg import polar

from sslsim import objectives
from sslsim.training.full_batch import train_linear, train_linear_fresh


def problem(n=6, m=20, d=3, seed=0, scale=0.1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m))
    x_prime = x + 0.3 * rng.standard_normal((n, m))
    return x, x_prime, scale * rng.standard_normal((d, m))


def correlation(w, x, x_prime):
    gamma = (x.T @ x_prime + x_prime.T @ x) / (2 * len(x))
    return w @ gamma @ w.T, gamma


def loss_of(w, x, x_prime):
    return np.sum((correlation(w, x, x_prime)[0] - np.eye(len(w))) ** 2)


def literal_descent(x, x_prime, w, rate, iterations, momentum=0.0, decay=0.0):
    """The gradient by its formula, in the full space."""
    losses, spectra, velocity = [], [], np.zeros_like(w)
    for _ in range(iterations + 1):
        corr, gamma = correlation(w, x, x_prime)
        losses.append(np.sum((corr - np.eye(len(w))) ** 2))
        spectra.append(np.linalg.eigvalsh(corr)[::-1])
        last = w
        gradient = 4 * (corr - np.eye(len(w))) @ w @ gamma
        velocity = momentum * velocity + gradient + decay * w
        w = w - rate * velocity
    return np.array(losses), np.array(spectra), last


@pytest.mark.parametrize("shape", [(6, 20), (10, 20), (30, 20)])
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.8, 0.0), (0.0, 0.3), (0.6, 0.2)])
def test_equals_the_literal_descent(shape, momentum, decay):
    x, x_prime, w0 = problem(*shape)
    run = train_linear(x, x_prime, w0, 2e-3, 300, momentum=momentum, weight_decay=decay)
    losses, spectra, last = literal_descent(x, x_prime, w0, 2e-3, 300, momentum, decay)
    assert losses[-1] < losses[0] / 2
    np.testing.assert_allclose(run.loss, losses, rtol=0, atol=1e-10)
    np.testing.assert_allclose(run.eigenvalues, spectra, rtol=0, atol=1e-10)
    np.testing.assert_allclose(run.weights, last, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 20), (30, 20)])
@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.0), (0.5, 0.4)])
def test_momentum_and_weight_decay_mean_what_they_mean_in_torch(shape, momentum, decay):
    x, x_prime, w0 = problem(*shape)
    run = train_linear(x, x_prime, w0, 1e-3, 60, momentum=momentum, weight_decay=decay)
    w = torch.tensor(w0, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1e-3, momentum=momentum, weight_decay=decay)
    views = torch.tensor(x), torch.tensor(x_prime)
    for _ in range(60):
        optimizer.zero_grad()
        z, z_prime = (v @ w.T for v in views)
        corr = (z.T @ z_prime + z_prime.T @ z) / (2 * len(z))
        torch.sum((corr - torch.eye(3)) ** 2).backward()
        optimizer.step()
    np.testing.assert_allclose(run.weights, w.detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 20), (30, 20)])
def test_one_step_follows_the_gradient_by_finite_differences(shape):
    x, x_prime, w0 = problem(*shape)
    step = (w0 - train_linear(x, x_prime, w0, 1e-6, 1).weights) / 1e-6
    numeric = np.empty_like(w0)
    for place in np.ndindex(w0.shape):
        bump = np.zeros_like(w0)
        bump[place] = 1e-5
        change = loss_of(w0 + bump, x, x_prime) - loss_of(w0 - bump, x, x_prime)
        numeric[place] = change / 2e-5
    np.testing.assert_allclose(step, numeric, rtol=0, atol=1e-7)


def test_outside_the_span_of_the_pairs_nothing_moves_without_weight_decay():
    x, x_prime, w0 = problem(scale=1.0)
    outside = np.linalg.svd(np.concatenate([x, x_prime]))[2][12:]  # (8, 20)
    run = train_linear(x, x_prime, w0, 1e-4, 200)
    np.testing.assert_allclose(run.weights @ outside.T, w0 @ outside.T, rtol=0, atol=1e-13)
    decayed = train_linear(x, x_prime, w0, 1e-4, 200, weight_decay=2.0)
    np.testing.assert_allclose(
        decayed.weights @ outside.T, (1 - 2e-4) ** 200 * w0 @ outside.T, rtol=0, atol=1e-13
    )


def test_pairs_of_deficient_rank_are_no_obstacle():
    x, x_prime, w0 = problem()
    x[1], x_prime[2], x[4] = x[0], 0.0, x_prime[4]
    run = train_linear(x, x_prime, w0, 1e-3, 50)
    last = literal_descent(x, x_prime, w0, 1e-3, 50)[2]
    np.testing.assert_allclose(run.weights, last, rtol=0, atol=1e-10)


def test_records_are_the_first_every_nth_and_the_last():
    x, x_prime, w0 = problem()
    run = train_linear(x, x_prime, w0, 1e-3, 1000, record_every=3, momentum=0.5)
    every = train_linear(x, x_prime, w0, 1e-3, 1000, momentum=0.5)
    assert run.iterations.tolist() == [*range(0, 1000, 3), 1000]
    np.testing.assert_allclose(run.times, run.iterations * 2e-3, rtol=1e-15)
    assert np.array_equal(run.loss, every.loss[run.iterations])
    assert np.array_equal(run.eigenvalues, every.eigenvalues[run.iterations])
    assert np.all(np.diff(run.eigenvalues, axis=1) <= 0)
    assert train_linear(x, x_prime, w0, 1e-3, 7, record_every=100).iterations.tolist() == [0, 7]


def test_the_arguments_are_left_alone():
    x, x_prime, w0 = problem(30, 20)
    before = w0.copy()
    train_linear(x, x_prime, w0, 1e-3, 3)
    assert np.array_equal(w0, before)


def test_float32_and_integer_pairs_are_trained_in_float64():
    x = np.array([[2, 0], [0, 1]], dtype=np.uint8)
    run = train_linear(x, x, np.full((1, 2), 1e-3, dtype=np.float32), 0.02, 5)
    exact = train_linear(x.astype(float), x, np.full((1, 2), np.float32(1e-3)), 0.02, 5)
    assert run.weights.dtype == np.float64
    assert np.array_equal(run.weights, exact.weights)


def test_a_progress_bar_on_demand(capsys):
    x, x_prime, w0 = problem()
    train_linear(x, x_prime, w0, 1e-3, 2)
    assert capsys.readouterr().err == ""
    train_linear(x, x_prime, w0, 1e-3, 2, progress=True)
    assert "linear" in capsys.readouterr().err


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_divergence_names_the_learning_rate(momentum):
    x, x_prime, w0 = problem()
    with pytest.raises(ValueError, match=r"learning rate .* below 5.0"):
        train_linear(x, x_prime, w0, 5.0, 100, momentum=momentum)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones(3)}, r"x has shape \(3,\)"),
        ({"x": np.ones((6, 4))}, r"x_prime has shape \(6, 20\); expected \(6, 4\)"),
        ({"x": np.ones((1, 20)), "x_prime": np.ones((1, 20))}, "at least 2"),
        ({"x": np.full((6, 20), np.nan)}, "x holds NaN"),
        ({"w0": np.ones((3, 19))}, r"w0 \(3, 19\)"),
        ({"w0": np.full((3, 20), np.inf)}, "w0 holds NaN or infinite"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": np.nan}, "learning_rate is nan"),
        ({"iterations": 0}, "iterations is 0"),
        ({"record_every": 0}, "record_every 0"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
    ],
)
def test_bad_input(change, message):
    x, x_prime, w0 = problem()
    good = {"x": x, "x_prime": x_prime, "w0": w0, "learning_rate": 1e-3, "iterations": 2}
    with pytest.raises(ValueError, match=message):
        train_linear(**{**good, **change})


@pytest.mark.parametrize("shape", [(6, 20), (30, 20)])
def test_batches_mean_what_they_mean_in_torch(shape):
    x, x_prime, w0 = problem(*shape)
    run = train_linear(x, x_prime, w0, 1e-3, 40, batch_size=4, seed=5, momentum=0.5)
    w = torch.tensor(w0, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1e-3, momentum=0.5)
    generator, queue = torch.Generator().manual_seed(5), []
    for _ in range(40):
        if not queue:  # an epoch: every full batch of one permutation
            order = torch.randperm(len(x), generator=generator)
            queue = [batch for batch in order.split(4) if len(batch) == 4]
        batch = queue.pop(0).numpy()
        optimizer.zero_grad()
        z, z_prime = (torch.tensor(v[batch]) @ w.T for v in (x, x_prime))
        corr = (z.T @ z_prime + z_prime.T @ z) / 8
        torch.sum((corr - torch.eye(3)) ** 2).backward()
        optimizer.step()
    np.testing.assert_allclose(run.weights, w.detach().numpy(), rtol=0, atol=1e-12)
    final = correlation(run.weights, x, x_prime)[0]
    np.testing.assert_allclose(run.eigenvalues[-1], np.linalg.eigvalsh(final)[::-1], atol=1e-12)


def test_the_seed_chooses_the_batches():
    x, x_prime, w0 = problem()
    first, again, other = (
        train_linear(x, x_prime, w0, 1e-3, 5, batch_size=2, seed=seed).weights for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-9)


def powered(matrix, power, ridge):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * (np.abs(values) + ridge) ** -power) @ vectors.T


@pytest.mark.parametrize("shape", [(6, 20), (30, 20)])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_orthogonalised_updates_are_polar_factors_of_the_buffer(shape, momentum):
    x, x_prime, w0 = problem(*shape)
    options = {"momentum": momentum, "optimizer": "muon"}
    run = train_linear(x, x_prime, w0, 1e-2, 60, **options)
    fresh = train_linear_fresh(
        lambda _: (torch.from_numpy(x), torch.from_numpy(x_prime)), w0, 1e-2, 60, **options
    )
    w, buffer = w0, np.zeros_like(w0)
    for _ in range(60):
        corr, gamma = correlation(w, x, x_prime)
        buffer = momentum * buffer + 4 * (corr - np.eye(3)) @ w @ gamma
        w = w - 1e-2 * polar(buffer)[0]
    for trained in (run, fresh):
        np.testing.assert_allclose(trained.weights, w, rtol=0, atol=1e-8)
        assert trained.times[-1] == pytest.approx(60 * 1e-2)  # with any momentum


def test_an_orthogonalised_update_leaves_out_directions_without_gradient():
    x = np.diag([1.0, 0.5, 0.0])
    run = train_linear(x, x, 0.1 * np.eye(3), 1e-2, 5, optimizer="muon")
    np.testing.assert_allclose(run.weights, np.diag([0.15, 0.15, 0.1]), atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 20), (30, 20)])
@pytest.mark.parametrize("side", ["embedding", "input", "both", None])
@pytest.mark.parametrize("weight", [1.0, 0.2])
def test_weights_of_the_loss_and_preconditioners_equal_the_literal_descent(shape, side, weight):
    x, x_prime, w0 = problem(*shape)
    given = None if side is None else (side, 0.5, 0.1)
    if side == "both":
        given = (("input", 0.5, 0.1), ("embedding", 0.5, 0.1))
    run = train_linear(x, x_prime, w0, 1e-3, 40, off_diagonal=weight, precondition=given)
    w = w0
    for _ in range(40):
        corr, gamma = correlation(w, x, x_prime)
        error = np.where(np.eye(3) > 0, 1.0, weight) * (corr - np.eye(3))
        gradient = 4 * error @ w @ gamma
        if side in ("embedding", "both"):
            gradient = powered(corr, 0.5, 0.1) @ gradient
        if side in ("input", "both"):
            gradient = gradient @ powered(gamma, 0.5, 0.1)
        w = w - 1e-3 * gradient
    np.testing.assert_allclose(run.weights, w, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 20), (30, 20)])
def test_layers_are_trained_as_torch_trains_them(shape):
    x, x_prime, w0 = problem(*shape, scale=0.3)
    second = np.random.default_rng(1).standard_normal((2, 3))
    run = train_linear(x, x_prime, (w0, second), 1e-3, 30, momentum=0.5, weight_decay=0.1)
    factors = [torch.tensor(layer, requires_grad=True) for layer in (w0, second)]
    optimizer = torch.optim.SGD(factors, lr=1e-3, momentum=0.5, weight_decay=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        z, z_prime = (torch.tensor(v) @ (factors[1] @ factors[0]).T for v in (x, x_prime))
        corr = (z.T @ z_prime + z_prime.T @ z) / (2 * len(x))
        torch.sum((corr - torch.eye(2)) ** 2).backward()
        optimizer.step()
    product = (factors[1] @ factors[0]).detach().numpy()
    np.testing.assert_allclose(run.weights, product, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 7}, "batch_size is 7; expected from 1 to the 6 pairs"),
        ({"off_diagonal": -1.0}, "off_diagonal is -1.0"),
        ({"precondition": ("left", 1.0, 0.1)}, "precondition is"),
        ({"precondition": (("input", 1.0, 0.1), ("input", 1.0, 0.1))}, "precondition is"),
        ({"precondition": (("input", 1.0, 0.1), ("embedding", 1.0, 0.0))}, "precondition is"),
        ({"optimizer": "adam"}, "optimizer is 'adam'; expected sgd or muon"),
        ({"optimizer": "muon", "weight_decay": 0.1}, "weight_decay is 0.1 with muon; expected 0"),
        ({"w0": (np.ones((3, 20)), np.ones((2, 4)))}, "layers that do not fit"),
    ],
    ids=str,
)
def test_bad_ways_to_train_are_named(options, message):
    x, x_prime, w0 = problem()
    with pytest.raises(ValueError, match=message):
        train_linear(x, x_prime, **{"w0": w0, "learning_rate": 1e-3, "iterations": 1, **options})


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: objectives.barlow_twins(z, y, form="published", lam=1.0),
        lambda z, y: objectives.simclr(z, y, temperature=0.5),
    ],
    ids=["Barlow Twins", "SimCLR"],
)
def test_a_normalised_loss_sees_the_init_scale_as_a_learning_rate(loss):
    x, x_prime, w0 = problem(12, 5, 3, scale=1.0)
    x, x_prime = x - x.mean(axis=0), x_prime - x_prime.mean(axis=0)
    ends = []
    for scale in (1.0, 0.25):
        w = torch.tensor(scale * w0, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1 * scale**2)
        for _ in range(30):
            optimizer.zero_grad()
            loss(torch.tensor(x) @ w.T, torch.tensor(x_prime) @ w.T).backward()
            optimizer.step()
        ends.append(w.detach().numpy() / scale)
    assert not np.allclose(ends[0], w0, atol=0.01)
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-8)
