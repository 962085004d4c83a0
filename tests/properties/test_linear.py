"""Symmetries of linear Barlow Twins that training must keep."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsim.training.full_batch import train_linear

SEED = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(2, 8), st.integers(2, 8), st.integers(1, 3))


def problem(seed, sizes):
    rng = np.random.default_rng(seed)
    n, m, d = sizes
    x = rng.standard_normal((n, m))
    x_prime = x + 0.5 * rng.standard_normal((n, m))
    return x, x_prime, 0.3 * rng.standard_normal((d, m)), rng


def rotation(rng, size):
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def agree(run, other, weights):
    np.testing.assert_allclose(run.loss, other.loss, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(run.eigenvalues, other.eigenvalues, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(run.weights, weights, rtol=1e-9, atol=1e-9)


@settings(max_examples=20)
@given(SEED, SIZES)
def test_swapping_the_views_or_the_order_of_the_pairs_changes_nothing(seed, sizes):
    x, x_prime, w0, rng = problem(seed, sizes)
    run = train_linear(x, x_prime, w0, 2e-3, 20, momentum=0.5)
    swapped = train_linear(x_prime, x, w0, 2e-3, 20, momentum=0.5)
    agree(run, swapped, swapped.weights)
    order = rng.permutation(len(x))
    shuffled = train_linear(x[order], x_prime[order], w0, 2e-3, 20, momentum=0.5)
    agree(run, shuffled, shuffled.weights)


@settings(max_examples=20)
@given(SEED, SIZES)
def test_rotations_of_inputs_and_embeddings_carry_through(seed, sizes):
    x, x_prime, w0, rng = problem(seed, sizes)
    inputs, outputs = rotation(rng, sizes[1]), rotation(rng, sizes[2])
    run = train_linear(x, x_prime, w0, 2e-3, 20, weight_decay=0.1)
    turned = train_linear(
        x @ inputs, x_prime @ inputs, outputs @ w0 @ inputs, 2e-3, 20, weight_decay=0.1
    )
    agree(run, turned, outputs.T @ turned.weights @ inputs.T)


@settings(max_examples=20)
@given(SEED, SIZES, st.integers(1, 20))
def test_inputs_that_are_always_zero_bring_in_the_basis_and_change_nothing(seed, sizes, extra):
    x, x_prime, w0, rng = problem(seed, sizes)
    extra += 2 * sizes[0]
    idle = rng.standard_normal((sizes[2], extra))
    pad = [(0, 0), (0, extra)]
    run = train_linear(x, x_prime, w0, 2e-3, 20, weight_decay=0.1)
    wide = train_linear(
        np.pad(x, pad),
        np.pad(x_prime, pad),
        np.concatenate([w0, idle], axis=1),
        2e-3,
        20,
        weight_decay=0.1,
    )
    agree(run, wide, wide.weights[:, : sizes[1]])
    shrunk = (1 - 2e-4) ** 20 * idle
    np.testing.assert_allclose(wide.weights[:, sizes[1] :], shrunk, rtol=1e-9, atol=1e-9)


@settings(max_examples=20)
@given(SEED, SIZES)
def test_a_small_enough_step_always_descends(seed, sizes):
    x, x_prime, w0, _ = problem(seed, sizes)
    assert np.all(np.diff(train_linear(x, x_prime, w0, 1e-4, 30).loss) <= 1e-12)
