"""What the equivalent initialisation promises for every generic start."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.linear.initialization import column_norms, equivalent_initialization

seeds = st.integers(0, 2**32 - 1)


def draw(seed, d, m, k):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((d, m)), np.linalg.qr(rng.standard_normal((m, m)))[0][:, :k], rng


@settings(max_examples=30)
@given(seeds, st.integers(1, 5), st.integers(0, 3), st.integers(1, 5))
def test_factors_of_the_projected_map(seed, d, spare, k):
    k = min(k, d)
    w0, right, _ = draw(seed, d, d + spare, k)
    left, s0 = equivalent_initialization(w0, right)
    np.testing.assert_allclose(left.T @ left, np.eye(k), atol=1e-13)
    upper = left.T @ w0 @ right
    np.testing.assert_allclose(np.tril(upper, -1), 0.0, atol=1e-13)
    np.testing.assert_allclose(np.diagonal(upper), s0, atol=1e-13)
    assert np.all(s0 >= 0)
    # Orthogonal parts are no longer than the whole; the first mode has no earlier one.
    norms = column_norms(w0, right)
    assert np.all(s0 <= norms * (1.0 + 1e-13))
    assert abs(s0[0] - norms[0]) <= 1e-13 * norms[0]
    # The volume that the columns span is kept.
    if k == d:
        volume = abs(np.linalg.det(w0 @ right))
        np.testing.assert_allclose(np.prod(s0), volume, rtol=1e-9, atol=1e-12)


@settings(max_examples=30)
@given(seeds, st.integers(1, 5), st.floats(-12.0, 3.0))
def test_scale_rotation_and_nesting(seed, d, exponent):
    w0, right, rng = draw(seed, d, d + 2, d)
    left, s0 = equivalent_initialization(w0, right)
    alpha = 10.0**exponent
    scaled_left, scaled = equivalent_initialization(alpha * w0, right)
    np.testing.assert_allclose(scaled, alpha * s0, atol=1e-12 * alpha)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    turned_left, turned = equivalent_initialization(turn @ w0, right)
    np.testing.assert_allclose(turned, s0, atol=1e-12)
    # Columns are ill-determined by the reciprocal of what is left of them.
    tolerance = 1e-12 / min(1.0, s0.min()) ** 2
    np.testing.assert_allclose(turned_left, turn @ left, atol=tolerance)
    np.testing.assert_allclose(scaled_left, left, atol=tolerance)
    fewer_left, fewer = equivalent_initialization(w0, right[:, :1])
    np.testing.assert_allclose(fewer, s0[:1], rtol=1e-12)
    np.testing.assert_allclose(fewer_left, left[:, :1], atol=1e-12)
    # The sign of an eigenvector is a convention.
    flipped = equivalent_initialization(w0, right * rng.choice([-1.0, 1.0], d))[1]
    np.testing.assert_allclose(flipped, s0, atol=1e-12)
