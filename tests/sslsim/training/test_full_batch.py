"""Full-batch descent of any module, against that of a linear map."""

import numpy as np
import pytest
import torch
from torch import nn

from sslsim.training.full_batch import train_full_batch, train_linear, train_linear_fresh


def pairs(n=6, m=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m)) * np.linspace(1.5, 0.5, m)
    return x, x + 0.1 * rng.standard_normal((n, m))


def linear(w0):
    layer = nn.Linear(w0.shape[1], len(w0), bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w0))
    return layer


def test_a_linear_layer_goes_the_way_of_the_linear_map():
    x, x_prime = pairs()
    w0 = 1e-2 * np.random.default_rng(1).standard_normal((2, 4))
    layer = linear(w0)
    run = train_full_batch(layer, *map(torch.from_numpy, (x, x_prime)), 0.01, 300)
    expected = train_linear(x, x_prime, w0, 0.01, 300)
    assert expected.eigenvalues[-1, 0] > 0.9
    np.testing.assert_allclose(run.eigenvalues, expected.eigenvalues, atol=1e-11)
    np.testing.assert_allclose(run.loss, expected.loss, atol=1e-11)
    np.testing.assert_allclose(layer.weight.detach(), expected.weights, atol=1e-11)


def test_it_stops_when_all_is_learned_and_spares_the_frozen():
    x = torch.eye(3, dtype=torch.float64)[:, :2] * 2
    net = nn.Sequential(linear(np.eye(2)), linear(np.array([[0.1, 0.1]])))
    net[0].weight.requires_grad_(False)
    run = train_full_batch(net, x, x, 0.01, 5000, stop_above=0.9)
    assert run.eigenvalues[-1, -1] > 0.9 >= run.eigenvalues[-2, -1]
    assert len(run.loss) == len(run.eigenvalues) < 5000
    assert torch.equal(net[0].weight, torch.eye(2, dtype=torch.float64))


X = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("x", "x_prime", "rate", "iterations", "message"),
    [
        (X, X[:2], 0.1, 5, "expected equal shapes"),
        (X[:1], X[:1], 0.1, 5, "n of at least 2"),
        (X, X, 0.0, 5, "learning_rate is 0"),
        (X, X, float("nan"), 5, "learning_rate is nan"),
        (X, X, 0.1, 0, "iterations is 0"),
        (1e3 * X, X, 1e3, 50, "at iteration"),
    ],
)
def test_bad_input_is_refused(x, x_prime, rate, iterations, message):
    with pytest.raises(ValueError, match=message):
        train_full_batch(nn.Linear(2, 1), x, x_prime, rate, iterations)


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="no parameter to train"):
        train_full_batch(nn.Linear(2, 1).requires_grad_(False), X, X, 0.1, 5)


def test_training_on_fresh_views_follows_the_views_it_is_given():
    rng = np.random.default_rng(0)
    views = [torch.from_numpy(rng.standard_normal((2, 30, 3))) for _ in range(6)]
    w = start = 0.1 * rng.standard_normal((2, 3))
    run = train_linear_fresh(lambda n: (views[n][0], views[n][1]), start, 0.01, 5)
    for number in range(6):
        x, x_prime = views[number].numpy()
        gamma = (x.T @ x_prime + x_prime.T @ x) / 60
        correlation = w @ gamma @ w.T
        expected = np.linalg.eigvalsh(correlation)[::-1]
        np.testing.assert_allclose(run.eigenvalues[number], expected, rtol=0, atol=1e-12)
        if number < 5:
            w = w - 0.01 * 4 * (correlation - np.eye(2)) @ w @ gamma
    np.testing.assert_allclose(run.weights, w, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"w0 \(2, 4\)"):
        train_linear_fresh(lambda n: (views[n][0], views[n][1]), np.ones((2, 4)), 0.01, 5)
