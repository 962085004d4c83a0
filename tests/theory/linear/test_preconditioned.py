"""Preconditioned flows against quadrature, integrators and the matrix flows themselves."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from theory.linear import closed_form as cf
from theory.linear import preconditioned as pre
from theory.linear.initialization import equivalent_initialization


def power(matrix, exponent, shift):
    """(|matrix| + shift I)^exponent of a symmetric matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * (np.abs(values) + shift) ** exponent) @ vectors.T


def embedding_side(w, gamma, exponent, ridge):
    c = w @ gamma @ w.T
    return -4.0 * power(c, -exponent, ridge) @ (c - np.eye(len(c))) @ w @ gamma


def input_side(w, gamma, exponent, delta):
    c = w @ gamma @ w.T
    return -4.0 * (c - np.eye(len(c))) @ w @ gamma @ power(gamma, -exponent, delta)


def integrate(slope, w0, t):
    flow = solve_ivp(
        lambda _, flat: slope(flat.reshape(w0.shape)).ravel(),
        (0.0, t[-1]),
        w0.ravel(),
        method="DOP853",
        rtol=1e-11,
        atol=1e-14,
        t_eval=t,
        max_step=t[-1] / 100,
    )
    assert flow.success
    return flow.y.T.reshape(-1, *w0.shape)


def crossings(t, w, gamma):
    """Times at which the ordered eigenvalues of W Gamma W^T pass one half."""
    curves = np.linalg.eigvalsh(w @ gamma @ w.swapaxes(1, 2))[:, ::-1]
    return np.array([np.interp(0.5, curve, t) for curve in curves.T])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 3.0])
def test_embedding_side_times_agree_with_an_integrator(exponent, ridge):
    gamma, s0 = 0.7, 1e-2
    levels = np.array([0.01, 0.5, 0.95])
    times = pre.embedding_side_level_times(levels, [gamma], [s0], exponent, ridge)[:, 0]
    # In logarithms, which the stiff start wants.
    flow = solve_ivp(
        lambda _, u: 8.0 * gamma * (1.0 - np.exp(u)) * (np.exp(u) + ridge) ** -exponent,
        (0.0, times[-1]),
        [np.log(gamma * s0**2)],
        method="LSODA",
        rtol=1e-11,
        atol=1e-12,
        t_eval=times,
    )
    np.testing.assert_allclose(np.exp(flow.y[0]), levels, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_embedding_side_matrix_flow_from_an_aligned_start(exponent):
    rng = np.random.default_rng(0)
    eigenvalues = np.array([1.0, 0.3, -0.2, 0.6])
    vectors = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    left = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    gamma, s0, ridge = (vectors * eigenvalues) @ vectors.T, np.array([0.05, 0.02]), 0.05
    for level in (0.1, 0.8):
        times = pre.embedding_side_level_times(level, eigenvalues[:2], s0, exponent, ridge)
        start = (left * s0) @ vectors[:, :2].T
        for j in range(2):
            w = integrate(
                lambda w: embedding_side(w, gamma, exponent, ridge), start, np.array([0, times[j]])
            )[-1]
            assert left[:, j] @ w @ gamma @ w.T @ left[:, j] == pytest.approx(level, abs=1e-7)


def test_embedding_side_holds_from_a_generic_small_start():
    eigenvalues = 0.5 ** np.arange(4)
    gamma, right = np.diag(eigenvalues), np.eye(4)[:, :2]
    w0 = 1e-4 * np.random.default_rng(1).standard_normal((2, 4))
    s0 = equivalent_initialization(w0, right)[1]
    predicted = pre.embedding_side_step_times(eigenvalues[:2], s0, 1.0, 1e-2)
    t = np.linspace(0.0, 1.5 * predicted[1], 4000)
    w = integrate(lambda w: embedding_side(w, gamma, 1.0, 1e-2), w0, t)
    np.testing.assert_allclose(crossings(t, w, gamma), predicted, rtol=0.02)


def test_embedding_side_removes_the_logarithm_and_keeps_one_over_gamma():
    gamma, s0 = np.array([1.0, 0.1]), np.array([1e-6, 1e-6 * 10**0.5])
    plain = cf.step_times(gamma, s0)
    sooner = plain / pre.embedding_side_step_times(gamma, s0, 1.0, 1e-2)
    assert np.all(sooner > 25)
    times = pre.embedding_side_step_times(gamma, s0, 1.0, 1e-2)
    assert times[1] / times[0] == pytest.approx(10.0, rel=1e-9)


def test_power_zero_is_the_plain_flow():
    gamma, s0 = [1.0, 0.2, 0.0, -1.0, 1.0, 1.0], [1e-3, 1e-120, 1.0, 1.0, 0.0, 0.9]
    expected = cf.step_times(gamma, s0)
    np.testing.assert_allclose(pre.embedding_side_step_times(gamma, s0, 0.0, 0.1), expected)
    np.testing.assert_allclose(pre.input_side_step_times(gamma, s0, 0.0, 0.1), expected)


def test_power_one_on_the_embedding_side_in_closed_form():
    """The integral of expit(u) + rho is softplus(u) + rho u."""
    for lam0, ridge in [(1e-12, 1e-3), (1e-3, 10.0), (0.3, 1e-9), (1e-150, 1e-3)]:
        u0 = np.log(lam0) - np.log1p(-lam0)
        expected = (np.log(2.0) - np.logaddexp(0.0, u0) - ridge * u0) / 8.0
        found = pre.embedding_side_step_times([1.0], [lam0**0.5], 1.0, ridge)[0]
        assert found == pytest.approx(expected, rel=1e-10)


def test_embedding_side_extremes():
    times = pre.embedding_side_level_times(
        [1e-300, 0.5, 1.0 - 1e-16], [1.0, 1.0, 1.0], [1e-160, 2.0, 1.0], 0.5, 1e-250
    )
    assert np.all(np.isfinite(times))
    assert np.all(times[:, 1:] == 0)
    assert np.all(np.diff(times[:, 0]) > 0)


@pytest.mark.parametrize(("exponent", "aligned"), [(0.4, False), (0.9, False), (1.0, True)])
def test_input_side_matrix_flow_from_an_aligned_start(exponent, aligned):
    rng = np.random.default_rng(2)
    eigenvalues = np.array([1.0, 0.3, -0.2, 0.6])
    vectors = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    left = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    gamma, s0, delta = (vectors * eigenvalues) @ vectors.T, np.array([0.05, 0.02, 0.4]), 0.05
    t = np.linspace(0.0, 2.0, 5)
    w = integrate(
        lambda w: input_side(w, gamma, exponent, delta), (left * s0) @ vectors[:, :3].T, t
    )
    curves = pre.input_side_curves(t, eigenvalues[:3], s0, exponent, delta, aligned=aligned)
    exact = left.T @ w @ gamma @ w.swapaxes(1, 2) @ left
    np.testing.assert_allclose(exact, curves[:, :, None] * np.eye(3), atol=1e-8)


def test_input_side_holds_from_a_generic_small_start_below_power_one():
    eigenvalues = 0.25 ** np.arange(4)
    gamma, right = np.diag(eigenvalues), np.eye(4)[:, :2]
    w0 = 1e-5 * np.random.default_rng(3).standard_normal((2, 4))
    s0 = equivalent_initialization(w0, right)[1]
    predicted = pre.input_side_step_times(eigenvalues[:2], s0, 0.5, 1e-3)
    t = np.linspace(0.0, 1.5 * predicted[1], 4000)
    w = integrate(lambda w: input_side(w, gamma, 0.5, 1e-3), w0, t)
    np.testing.assert_allclose(crossings(t, w, gamma), predicted, rtol=0.01)


def test_at_power_one_a_generic_start_never_leaves_its_row_space():
    """Why q >= 1 is refused: dW/dt = 4 (I - C) W learns no eigenvector of Gamma."""
    eigenvalues = np.array([1.0, 0.4, 0.2])
    gamma = np.diag(eigenvalues)
    w0 = 1e-2 * np.random.default_rng(4).standard_normal((1, 3))
    w = integrate(
        lambda w: -4.0 * (w @ gamma @ w.T - np.eye(1)) @ w @ gamma @ np.linalg.inv(gamma),
        w0,
        np.array([0.0, 5.0]),
    )[-1]
    assert abs(w @ gamma @ w.T - 1.0) < 1e-8
    cosine = np.abs(w @ w0.T) / np.linalg.norm(w) / np.linalg.norm(w0)
    assert cosine == pytest.approx(1.0, abs=1e-9)


def test_inverse_makes_all_modes_step_together_and_blows_up_negative_ones():
    gamma, lam0 = np.array([1.0, 0.1, 0.01]), 1e-8
    s0 = np.sqrt(lam0 / gamma)
    tau = pre.input_side_step_times(gamma, s0, 1.0, 1e-3, pseudo_inverse=True, aligned=True)
    np.testing.assert_allclose(tau, np.log(1.0 / lam0 - 1.0) / 8.0, rtol=1e-12)
    # The plain inverse: dlambda/dt = 8 lambda (1 - lambda) from a negative start.
    lost = np.log(11.0) / 8.0
    blown = solve_ivp(
        lambda _, lam: 8.0 * lam * (1.0 - lam),
        (0.0, lost - 1e-5),
        [-0.1],
        rtol=1e-9,
    )
    assert blown.y[0, -1] < -1e4
    options = {"pseudo_inverse": True, "aligned": True}
    rates = pre.input_side_rates([1.0, 0.05, -0.3], 1.0, 0.1, **options)
    assert rates.tolist() == [1.0, 0.0, 0.0]


def test_left_out_modes_stand_still():
    gamma, s0 = np.array([1.0, 0.05, -0.3, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])
    curves = pre.input_side_curves([0.0, 1e3, np.inf], gamma, s0, 0.5, 0.1, pseudo_inverse=True)
    np.testing.assert_allclose(curves[:, 1:], np.tile(gamma[1:] * s0[1:] ** 2, (3, 1)))
    np.testing.assert_allclose(curves[:, 0], [0.01, 1.0, 1.0])
    tau = pre.input_side_step_times(gamma, s0, 0.5, 0.1, pseudo_inverse=True)
    assert np.isinf(tau[1:]).all()
    regular = pre.input_side_curves(np.inf, gamma, s0, 0.5, 0.1)
    np.testing.assert_allclose(regular, [1.0, 1.0, 0.0, 0.0], atol=1e-15)


def two_sided(w, gamma, embedding, inputs):
    c = w @ gamma @ w.T
    slope = -4.0 * power(c, -embedding[0], embedding[1]) @ (c - np.eye(len(c))) @ w @ gamma
    return slope @ power(gamma, -inputs[0], inputs[1])


@pytest.mark.parametrize("inputs", [(0.5, 0.1), (0.9, 0.03)])
def test_both_sides_matrix_flow_from_an_aligned_start(inputs):
    rng = np.random.default_rng(5)
    eigenvalues = np.array([1.0, 0.3, 0.6, -0.2])
    vectors = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    left = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    gamma, s0 = (vectors * eigenvalues) @ vectors.T, np.array([0.05, 0.02, 0.1])
    embedding = (0.7, 0.05)
    t = np.linspace(0.0, 0.6, 5)
    w = integrate(
        lambda w: two_sided(w, gamma, embedding, inputs), (left * s0) @ vectors[:, :3].T, t
    )
    exact = left.T @ w @ gamma @ w.swapaxes(1, 2) @ left
    curves = pre.two_sided_curves(t, eigenvalues[:3], s0, embedding, inputs)
    np.testing.assert_allclose(exact, curves[:, :, None] * np.eye(3), atol=1e-7)
    assert curves[-1].max() > 0.9
    assert curves[1].max() < 0.5


def test_both_sides_hold_on_ten_modes_from_a_generic_small_start():
    """The first eigenvalue 65 times the tenth, two later ones, and two below zero."""
    rng = np.random.default_rng(6)
    eigenvalues = 65.0 ** (-np.arange(12) / 9.0)
    gamma = np.diag(np.r_[eigenvalues, -0.1, -0.02])
    embedding, inputs = (1.0, 0.1), (0.5, 0.1)
    w0 = 1e-3 * rng.standard_normal((10, 14))
    s0 = equivalent_initialization(w0, np.eye(14)[:, :10])[1]
    predicted = pre.two_sided_step_times(eigenvalues[:10], s0, embedding, inputs)
    t = np.linspace(0.0, 1.3 * predicted[-1], 3000)
    flow = solve_ivp(
        lambda _, flat: two_sided(flat.reshape(w0.shape), gamma, embedding, inputs).ravel(),
        (0.0, t[-1]), w0.ravel(), method="DOP853", rtol=1e-7, atol=1e-10, t_eval=t,
    )  # fmt: skip
    measured = crossings(t, flow.y.T.reshape(-1, *w0.shape), gamma)
    error = np.abs(predicted / measured - 1.0)
    assert error.max() < 0.1
    # The formulas of one side, or of none, are far off.
    for other in (
        pre.embedding_side_step_times(eigenvalues[:10], s0, *embedding),
        pre.input_side_step_times(eigenvalues[:10], s0, *inputs),
        cf.step_times(eigenvalues[:10], s0),
    ):
        assert np.abs(other / measured - 1.0)[-1] > 0.5


def test_both_sides_with_one_power_zero_are_the_other_side_to_the_bit():
    gamma, s0 = [1.0, 0.2, 0.0, -1.0, 1.0], [1e-3, 1e-120, 1.0, 1.0, 0.0]
    levels = [0.1, 0.5, 0.9]
    np.testing.assert_array_equal(
        pre.two_sided_level_times(levels, gamma, s0, (0.7, 0.05), (0.0, 1.0)),
        pre.embedding_side_level_times(levels, gamma, s0, 0.7, 0.05),
    )
    expected = pre.input_side_step_times(gamma, s0, 0.5, 0.1)
    found = pre.two_sided_step_times(gamma, s0, (0.0, 1.0), (0.5, 0.1))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    plain = pre.two_sided_step_times(gamma, s0, (0.0, 1.0), (0.0, 1.0))
    np.testing.assert_allclose(plain, cf.step_times(gamma, s0), rtol=1e-12)
    t = np.linspace(0.0, 5.0, 7)
    curves = pre.two_sided_curves(t, gamma, s0, (0.0, 1.0), (0.0, 1.0))
    np.testing.assert_allclose(curves, cf.eigenvalue_curves(t, gamma, s0), rtol=1e-7, atol=1e-12)


def test_both_sides_at_the_ends():
    sides = (1.0, 0.1), (0.5, 0.1)
    gamma, s0 = [1.0, 0.25, 1.0, 0.0, -0.5], [1e-160, 2.0, 1.0 - 1e-16, 1.0, 1.0]
    ends = pre.two_sided_curves([0.0, np.inf], gamma, s0, *sides)
    np.testing.assert_allclose(ends[0], [0.0, 1.0, 1.0, 0.0, -0.5], atol=1e-15)
    np.testing.assert_allclose(ends[1], [1.0, 1.0, 1.0, 0.0, 0.0], atol=1e-15)
    # A shift of the clock by the far, exponential part of a small start is exact.
    tau = pre.two_sided_step_times(gamma, s0, *sides)[0]
    assert pre.two_sided_curves(tau, gamma, s0, *sides)[0] == pytest.approx(0.5, rel=1e-7)


@pytest.mark.parametrize("q", [1.0, 1.5])
@pytest.mark.parametrize("function", ["rates", "curves", "times"])
def test_powers_from_one_want_an_aligned_start(q, function):
    def call(aligned):
        if function == "rates":
            return pre.input_side_rates([1.0], q, 0.1, aligned=aligned)
        if function == "curves":
            return pre.input_side_curves(0.0, [1.0], [0.1], q, 0.1, aligned=aligned)
        return pre.input_side_step_times([1.0], [0.1], q, 0.1, aligned=aligned)

    with pytest.raises(ValueError, match=f"power is {q} on the input side; expected below 1"):
        call(aligned=False)
    assert np.all(np.isfinite(call(aligned=True)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pre.embedding_side_step_times([1.0], [1.0], -1.0, 0.1), "power is -1.0"),
        (lambda: pre.embedding_side_step_times([1.0], [1.0], np.nan, 0.1), "power is nan"),
        (lambda: pre.embedding_side_step_times([1.0], [1.0], 1.0, 0.0), "ridge is 0.0"),
        (lambda: pre.embedding_side_step_times([1.0], [1.0, 1.0], 1.0, 0.1), "equal shapes"),
        (lambda: pre.embedding_side_level_times(1.0, [1.0], [1.0], 1.0, 0.1), "between 0 and 1"),
        (lambda: pre.input_side_rates([1.0], 0.5, 0.0), "delta is 0.0"),
        (lambda: pre.two_sided_step_times([1.0], [0.1], (-1, 1), (0.5, 1)), "power is -1"),
        (lambda: pre.two_sided_step_times([1.0], [0.1], (1, 1), (1.0, 1)), "on the input side"),
        (lambda: pre.two_sided_curves(0.0, [1.0], [0.1], (1, 0), (0.5, 1)), "ridge is 0"),
        (lambda: pre.two_sided_curves(0.0, [1.0], [1.1], (1, 1), (0.5, 1)), "starts at lambda ="),
        (lambda: pre.two_sided_curves(-1.0, [1.0], [0.1], (1, 1), (0.5, 1)), "negative or NaN"),
        (lambda: pre.input_side_rates([np.nan], 0.5, 0.1), "gamma holds 1 NaN"),
        (lambda: pre.input_side_rates([1.0], -0.5, 0.1), "power is -0.5"),
        (lambda: pre.input_side_curves(-1.0, [1.0], [1.0], 0.5, 0.1), "negative or NaN"),
        (lambda: pre.input_side_step_times([1.0], [-1.0], 0.5, 0.1), "none below zero"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
