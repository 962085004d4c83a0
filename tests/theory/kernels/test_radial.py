"""The Gaussian kernel against its definition and its random features."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.kernels.radial import rbf_kernel


def inputs(n, m, seed=0):
    return np.random.default_rng(seed).standard_normal((n, m))


@given(st.integers(0, 100), st.floats(0.1, 10), st.floats(-1e3, 1e3))
def test_it_is_its_definition_wherever_the_data_lie(seed, width, shift):
    x, y = inputs(4, 3, seed), inputs(5, 3, seed + 1)
    literal = [[np.exp(-np.sum((a - b) ** 2) / (2 * width**2)) for b in y] for a in x]
    # Coordinates of 1000 have roundings of 1e-13, widths of 0.1 make 1e-10 of them.
    found = rbf_kernel(x + shift, y + shift, width=width)
    np.testing.assert_allclose(found, literal, rtol=1e-7, atol=1e-12)


def test_it_is_symmetric_semidefinite_and_knows_no_rotation():
    x = inputs(20, 3)
    kernel = rbf_kernel(x, width=1.5)
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-14)
    np.testing.assert_allclose(np.diag(kernel), 1, rtol=1e-14)
    assert np.linalg.eigvalsh(kernel)[0] > -1e-13
    turn = np.linalg.qr(inputs(3, 3, 1))[0]
    np.testing.assert_allclose(rbf_kernel(x @ turn, width=1.5), kernel, rtol=1e-12)


@pytest.mark.parametrize("width", [0.5, 3.0])
def test_random_features_come_close_as_the_root_of_their_number(width):
    x = inputs(8, 3)
    exact = rbf_kernel(x, width=width)
    errors = []
    for count in (100, 10_000):
        rng = np.random.default_rng(0)
        phase = rng.uniform(0, 2 * np.pi, count)
        features = np.sqrt(2 / count) * np.cos(x @ rng.standard_normal((3, count)) / width + phase)
        errors.append(np.sqrt(np.mean((features @ features.T - exact) ** 2)))
    assert errors[1] < 0.02
    assert errors[1] < 0.3 * errors[0]  # a tenth, for a hundred times the number


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[1.0]],), {"width": 0.0}, "width is 0.0; expected a finite number above zero"),
        (([[1.0]],), {"width": np.inf}, "width is inf"),
        (([[1.0]], [[1.0, 2.0]]), {"width": 1.0}, "expected"),
        (([[np.nan]],), {"width": 1.0}, "x1 holds 1 NaN"),
    ],
)
def test_bad_input_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        rbf_kernel(*arguments, **options)
