"""Kernels of infinitely wide ReLU networks against draws, integrals and wide networks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad

from sslsim.encoders.build import build_encoder
from sslsim.ntk import empirical_ntk
from theory.kernels.infinite_width import infinite_width_kernels


def inputs(n, m, seed=0):
    return np.random.default_rng(seed).standard_normal((n, m))


def test_one_layer_is_the_linear_kernel():
    x, y = inputs(4, 7), inputs(3, 7, 1)
    for kernel in infinite_width_kernels(x, y, layers=1):
        np.testing.assert_allclose(kernel, x @ y.T / 7, rtol=1e-14)


@given(st.integers(1, 6), st.integers(0, 100), st.floats(0.1, 10))
def test_diagonals_symmetry_scale_and_sign(layers, seed, scale):
    x = inputs(5, 4, seed)
    covariance, tangent = infinite_width_kernels(x, layers=layers)
    square = np.sum(x**2, axis=1) / 4
    # Where two inputs coincide an angle of the root of a rounding is left.
    np.testing.assert_allclose(np.diag(covariance), square, rtol=1e-7)
    np.testing.assert_allclose(np.diag(tangent), layers * square, rtol=1e-6)
    for kernel, scaled in zip(
        (covariance, tangent), infinite_width_kernels(scale * x, x, layers=layers), strict=True
    ):
        np.testing.assert_allclose(kernel, kernel.T, rtol=1e-12)
        np.testing.assert_allclose(scaled, scale * kernel, rtol=1e-6, atol=1e-9 * scale)
        assert np.linalg.eigvalsh(kernel)[0] > -1e-6 * np.trace(kernel)


def test_one_hidden_layer_against_the_integral():
    """E relu(u) relu(v) of correlated normals, by quadrature."""
    x = np.array([[1.0, 0.5], [-0.3, 1.2]])
    covariance, _ = infinite_width_kernels(x, layers=2)
    root = np.linalg.cholesky(x @ x.T)  # 2 x.x'/m with m = 2

    def product(b, a):
        u, v = root @ [a, b]
        return max(u, 0) * max(v, 0) * np.exp(-(a**2 + b**2) / 2) / (2 * np.pi)

    expected, _ = dblquad(product, -8, 8, -8, 8, epsabs=1e-7)
    np.testing.assert_allclose(covariance[0, 1], expected, atol=1e-6)


def test_opposite_and_orthogonal_inputs():
    covariance, tangent = infinite_width_kernels([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], layers=2)
    np.testing.assert_allclose([covariance[0, 1], tangent[0, 1]], 0, atol=1e-15)
    # theta = pi/2: q_1 = 1 on the diagonal, c / (2 pi) of it.
    np.testing.assert_allclose(covariance[0, 2], 1 / (2 * np.pi), rtol=1e-12)
    assert not np.any(infinite_width_kernels(np.zeros((2, 3)), layers=3))


@pytest.mark.parametrize("layers", [2, 3])
def test_wide_networks_come_close_as_the_root_of_their_width(layers):
    x = inputs(6, 12).reshape(6, 1, 3, 4)
    _, exact = infinite_width_kernels(x.reshape(6, 12), layers=layers)
    outputs, errors = 4, []
    for width in (32, 512):
        found = [
            empirical_ntk(
                build_encoder(
                    "mlp",
                    (1, 3, 4),
                    outputs,
                    seed=seed,
                    widths=(width,) * (layers - 1),
                    parameterization="ntk",
                ).double(),
                torch.from_numpy(x),
            )
            for seed in range(4)
        ]
        kernels = np.array([np.asarray(kernel) / outputs for kernel in found])
        errors.append(np.sqrt(np.mean((kernels - exact) ** 2)) / np.abs(exact).max())
    assert errors[1] < 0.06
    assert errors[1] < 0.5 * errors[0]  # a quarter, for sixteen times the width


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[1.0]],), {"layers": 0}, "layers is 0"),
        (([[1.0]],), {"layers": 1, "parameterization": "standard"}, "layers is 1; expected at l"),
        (([[1.0]],), {"layers": 2, "parameterization": "mup"}, "parameterization is 'mup'"),
        (([[1.0]], [[1.0, 2.0]]), {"layers": 1}, "expected"),
        (([[np.nan]],), {"layers": 1}, "x1 holds 1 NaN"),
        ((np.zeros((2, 0)),), {"layers": 1}, "m above 0"),
    ],
)
def test_bad_input_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        infinite_width_kernels(*arguments, **options)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_a_rotation_of_the_inputs_changes_nothing(parameterization):
    x = inputs(5, 4)
    turn = np.linalg.qr(inputs(4, 4, 1))[0]
    options = {"layers": 4, "parameterization": parameterization}
    for kernel, turned in zip(
        infinite_width_kernels(x, **options),
        infinite_width_kernels(x @ turn, **options),
        strict=True,
    ):
        np.testing.assert_allclose(turned, kernel, rtol=1e-6)
    stretched = infinite_width_kernels(x * [2, 1, 1, 1], **options)[1]
    assert np.abs(stretched - turned).max() > 0.1


def test_each_layer_is_an_expectation_over_normal_numbers():
    """The recursion as it is defined: mean of ReLUs, and of their derivatives, over draws."""
    x = inputs(3, 5)
    q = 2 * x @ x.T / 5
    tangent = q
    rng = np.random.default_rng(0)
    for gain in (2, 2, 1):
        u = rng.standard_normal((400_000, 3)) @ np.linalg.cholesky(q).T
        active = (u > 0).astype(float)
        q = gain * np.maximum(u, 0).T @ np.maximum(u, 0) / len(u)
        tangent = q + gain * active.T @ active / len(u) * tangent
    covariance, exact = infinite_width_kernels(x, layers=4)
    np.testing.assert_allclose(covariance, q, atol=0.01 * q.max())
    np.testing.assert_allclose(exact, tangent, atol=0.01 * tangent.max())


@pytest.mark.parametrize("layers", [2, 3])
def test_in_the_standard_parameterisation_the_kernel_grows_with_the_width(layers):
    x = inputs(4, 6).reshape(4, 1, 2, 3)
    _, exact = infinite_width_kernels(x.reshape(4, 6), layers=layers, parameterization="standard")
    errors = []
    for width in (32, 1024):
        kernels = [
            np.asarray(
                empirical_ntk(
                    build_encoder("mlp", (1, 2, 3), 2, seed=seed, widths=(width,) * (layers - 1))
                    .double(),
                    torch.from_numpy(x),
                )
            ) / (2 * width)
            for seed in range(4)
        ]  # fmt: skip
        errors.append(np.sqrt(np.mean((np.array(kernels) - exact) ** 2)) / exact.max())
    assert errors[1] < 0.06
    assert errors[1] < 0.4 * errors[0]


def test_inputs_that_coincide_leave_the_kernel_semidefinite_to_rounding():
    x = inputs(20, 6)
    x = np.vstack([x, x, -2 * x])
    for kernel in infinite_width_kernels(x, layers=4):
        values = np.linalg.eigvalsh(kernel)
        assert values[0] > -1e-13 * values[-1]
        np.testing.assert_allclose(np.diag(kernel)[:20], np.diag(kernel[:20, 20:]), rtol=1e-13)
