"""Frozen kernels against the descent of models that are linear in their parameters."""

import numpy as np
import pytest
import torch

from sslsim.objectives._barlow_twins import barlow_twins
from sslsim.training.full_batch import train_linear
from theory.kernels.frozen import frozen_kernel_descent


def test_a_model_linear_in_its_parameters_is_followed_exactly():
    """Embeddings f0 + J p with coupled outputs, by automatic differentiation in p."""
    rng = np.random.default_rng(0)
    n, d, count = 4, 3, 40
    jacobian = torch.from_numpy(rng.standard_normal((2 * n, d, count)))
    start = torch.from_numpy(0.1 * rng.standard_normal((2 * n, d)))
    kernel = torch.einsum("akp,blp->abkl", jacobian, jacobian).numpy()
    blocks = np.abs(kernel[:, :, ~np.eye(d, dtype=bool)]).max()
    assert blocks > 0.1 * np.abs(kernel).max()  # outputs do talk to each other
    rate = 2e-3
    p = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    expected = []
    for _ in range(101):
        f = start + jacobian @ p
        loss = barlow_twins(f[:n], f[n:])
        c = (f[:n].T @ f[n:]).detach() / n
        expected.append(torch.linalg.eigvalsh((c + c.T) / 2).flip(-1).numpy())
        (gradient,) = torch.autograd.grad(loss, p)
        with torch.no_grad():
            p -= rate * gradient
    found = frozen_kernel_descent(kernel, start.numpy(), rate, 100)
    assert np.ptp(expected, axis=0).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_a_linear_map_is_one():
    rng = np.random.default_rng(1)
    x, x_prime = rng.standard_normal((2, 6, 4)) * [1.0, 0.8, 0.6, 0.4]
    x_prime += 2 * x
    w0 = 1e-2 * rng.standard_normal((2, 4))
    views = np.vstack([x, x_prime])
    kernel = (views @ views.T)[:, :, None, None] * np.eye(2)
    found = frozen_kernel_descent(kernel, views @ w0.T, 0.03, 200)
    run = train_linear(x, x_prime, w0, 0.03, 200)
    assert run.eigenvalues[-1, 0] > 0.9
    np.testing.assert_allclose(found, run.eigenvalues, atol=1e-10)


def test_it_stops_when_all_is_learned():
    kernel = np.eye(4)[:, :, None, None]
    whole = frozen_kernel_descent(kernel, np.full((4, 1), 0.1), 0.1, 200)
    part = frozen_kernel_descent(kernel, np.full((4, 1), 0.1), 0.1, 200, stop_above=0.5)
    assert len(whole) == 201
    assert part[-1, 0] > 0.5 >= part[-2, 0]
    np.testing.assert_array_equal(part, whole[: len(part)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((4, 4, 1, 1)), np.ones((4, 2)), 0.1, 5), r"expected \(2n, 2n, d, d\)"),
        ((np.ones((3, 3, 1, 1)), np.ones((3, 1)), 0.1, 5), r"expected \(2n, 2n, d, d\)"),
        ((np.ones((4, 4)), np.ones((4, 1)), 0.1, 5), "kernel has shape"),
        ((np.ones((4, 4, 1, 1)), np.full((4, 1), np.nan), 0.1, 5), "NaN"),
        ((np.ones((4, 4, 1, 1)), np.ones((4, 1)), 0.0, 5), "learning_rate is 0"),
        ((np.ones((4, 4, 1, 1)), np.ones((4, 1)), 0.1, 0), "iterations is 0"),
        ((np.ones((4, 4, 1, 1)), np.full((4, 1), 3.0), 1e3, 50), "diverge at iteration"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        frozen_kernel_descent(*arguments)
