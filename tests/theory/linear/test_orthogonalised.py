"""Closed form of orthogonalised descent, against iterations of it written out."""

import numpy as np
import pytest
import scipy.linalg
import sympy as sp
from scipy.integrate import quad
from scipy.optimize import brentq

from theory.linear import orthogonalised as orth
from theory.linear.initialization import equivalent_initialization


def polar(matrix):
    """U V^T by a singular value decomposition, without zero singular values."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    rank = int(np.sum(values > 1e-13 * values[0]))
    return left[:, :rank] @ right[:rank]


def descend(gamma, w, rate, updates, momentum=0.0):
    """Maps (updates + 1, d, m) of W <- W - rate polar(buffer), in the eigenbasis of Gamma."""
    buffer, maps = np.zeros_like(w), [w]
    for _ in range(updates):
        c = (w * gamma) @ w.T
        buffer = momentum * buffer + 4.0 * (c - np.eye(len(w))) @ (w * gamma)
        w = w - rate * polar(buffer)
        maps.append(w)
    return np.array(maps)


def eigenvalues(maps, gamma):
    return np.linalg.eigvalsh((maps * gamma) @ maps.swapaxes(1, 2))[:, ::-1]


def measured_steps(maps, gamma, rate, count):
    """Times at which sorted eigenvalues of C pass one half, linear in their square roots."""
    roots = np.sqrt(eigenvalues(maps, gamma).clip(0.0))[:, :count]
    return np.array([rate * np.interp(np.sqrt(0.5), c, np.arange(len(c))) for c in rising(roots)])


def rising(curves):
    """Each curve up to its first value above one half."""
    return [c[: int(np.argmax(c >= np.sqrt(0.5))) + 1] for c in curves.T]


TEN = 65.0 ** (-np.arange(10) / 9.0)
"""Ten eigenvalues, the first 65 times the last."""


def with_tail(negative, m):
    """The ten, and a tail that goes on with the same ratio, of both signs or of one."""
    tail = TEN[-1] * (TEN[1] / TEN[0]) ** np.arange(1, m - 9)
    return np.r_[TEN, np.where(np.arange(len(tail)) % 2, -tail, tail) if negative else tail]


def test_unit_speed_and_half_rise_in_symbols():
    gamma, s, t = sp.symbols("gamma s t", positive=True)
    slope = -sp.diff((1 - gamma * s**2) ** 2, s)
    # Below 1/sqrt(gamma) it points up, above it down: its polar factor is its sign.
    assert sp.expand(slope - 4 * gamma * s * (1 - gamma * s**2)) == 0
    half = sp.solve(sp.Eq(gamma * (s + t) ** 2, sp.Rational(1, 2)), t)
    numbers = {gamma: 0.5, s: 0.01}
    found = [float(root.subs(numbers)) for root in half]
    assert found == pytest.approx(orth.step_times([0.5], [0.01]).tolist())


def test_a_small_map_moves_along_one_polar_factor_in_symbols():
    """With W V Gamma = Q H, the gradient of W V + t Q is Q (H + t Gamma), whose factor is Q."""
    a, b, c, g1, g2, t, angle = sp.symbols("a b c g1 g2 t angle", real=True)
    h, gamma = sp.Matrix([[a, b], [b, c]]), sp.diag(g1, g2)
    q = sp.Matrix([[sp.cos(angle), -sp.sin(angle)], [sp.sin(angle), sp.cos(angle)]])
    moved = q * h * gamma.inv() + t * q
    positive = sp.simplify(q.T * moved * gamma)
    assert sp.simplify(positive - positive.T) == sp.zeros(2)
    assert sp.simplify(positive - (h + t * gamma)) == sp.zeros(2)


def test_the_polar_factor_is_that_of_scipy_and_leaves_out_what_is_zero():
    rng = np.random.default_rng(0)
    for shape in ((3, 5), (5, 3), (4, 4)):
        matrix = rng.standard_normal(shape)
        np.testing.assert_allclose(orth.polar_factor(matrix), scipy.linalg.polar(matrix)[0])
    low = rng.standard_normal((4, 2)) @ rng.standard_normal((2, 6))
    values = np.linalg.svd(orth.polar_factor(low), compute_uv=False)
    np.testing.assert_allclose(values, [1, 1, 0, 0], atol=1e-12)


def test_an_aligned_map_follows_the_curves_for_every_sign_of_gamma():
    rng = np.random.default_rng(1)
    gamma, s0 = np.array([1.0, 0.3, 0.05, 0.0, -0.4]), np.array([0.02, 1.9, 1.0, 0.5, 0.7])
    vectors = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    left = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    full, w, rate = (vectors * gamma) @ vectors.T, (left * s0) @ vectors.T, 1e-3
    times = np.arange(1501) * rate
    for n, expected in enumerate(orth.singular_values(times, gamma, s0)):
        if n % 250 == 0:
            np.testing.assert_allclose(
                left.T @ w @ vectors, np.diag(expected), atol=rate + 1e-9, err_msg=str(n)
            )
        gradient = 4.0 * (w @ full @ w.T - np.eye(5)) @ w @ full
        w = w - rate * polar(gradient)
    # The one of gamma = 0 has not moved at all.
    assert (left.T @ w @ vectors)[3, 3] == pytest.approx(0.5, abs=1e-6)


def test_iterations_are_exact_from_an_aligned_start():
    gamma, s0, rate = np.array([1.0, 0.4]), np.array([1e-3, 2e-3]), 0.013
    maps = descend(gamma, np.diag(s0), rate, 100)
    found = measured_steps(maps, gamma, 1.0, 2)
    np.testing.assert_allclose(found, orth.step_iterations(gamma, s0, rate), rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_polar_start_is_exact_where_the_qr_start_is_not(seed):
    """As many outputs as inputs: only the start matters, at one hundredth of the first goal."""
    w0 = 1e-2 * np.random.default_rng(seed).standard_normal((10, 10))
    measured = measured_steps(descend(TEN, w0, 0.01, 700), TEN, 0.01, 10)
    left, s0 = orth.equivalent_initialization(w0, TEN, np.eye(10))
    np.testing.assert_allclose(left.T @ left, np.eye(10), atol=1e-10)
    error = np.abs(np.sort(orth.step_times(TEN, s0)) / measured - 1.0).max()
    by_qr = equivalent_initialization(w0, np.eye(10))[1]
    qr_error = np.abs(np.sort(orth.step_times(TEN, by_qr)) / measured - 1.0).max()
    no_start = np.abs(np.sqrt(0.5 / TEN) / measured - 1.0).max()
    assert error < 6e-4
    assert qr_error > 3 * error
    assert no_start > 1e-2


def test_the_polar_start_is_the_qr_start_for_eigenvalues_far_apart():
    gamma = 1e-4 ** np.arange(3)
    w0 = np.random.default_rng(2).standard_normal((4, 6))
    left, s0 = orth.equivalent_initialization(w0, gamma, np.eye(6)[:, :3])
    expected = equivalent_initialization(w0, np.eye(6)[:, :3])
    np.testing.assert_allclose(left, expected[0], atol=1e-3)
    np.testing.assert_allclose(s0, expected[1], rtol=1e-2)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("m", [12, 40])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_ten_modes_step_when_predicted_from_a_generic_small_start(negative, m, momentum):
    gamma = with_tail(negative, m)
    rate = 0.05 * orth.stable_learning_rate(gamma, momentum)
    w0 = 1e-3 * np.random.default_rng(3).standard_normal((10, m))
    updates = int(1.1 * np.sqrt(0.5 / TEN[-1]) / rate)
    measured = measured_steps(descend(gamma, w0, rate, updates, momentum), gamma, rate, 10)
    s0 = orth.equivalent_initialization(w0, TEN, np.eye(m)[:, :10])[1]
    predicted = np.sort(orth.step_times(TEN, s0))
    assert np.abs(predicted / measured - 1.0).max() < 0.05
    assert np.abs(predicted / measured - 1.0).mean() < 0.01
    # Neither 1/gamma nor a logarithm of the start.
    assert measured[-1] / measured[0] == pytest.approx(np.sqrt(65.0), rel=0.05)


@pytest.mark.parametrize(("ratio", "power"), [(0.25, 1.0), (0.6, 0.8), (0.75, 0.5)])
def test_a_second_eigenvalue_shifts_the_step_by_a_power_of_the_start(ratio, power):
    """One row w turns: w_k grows like exp(gamma_k u), where dt = |w Gamma| du."""
    gamma, shifts = np.array([1.0, ratio]), []
    for scale in (1e-6, 1e-7):
        w = scale * np.array([1.0, 1.3])

        def speed(u, w=w):
            return np.linalg.norm(gamma * w * np.exp(gamma * u))

        def excess(u, w=w):
            return np.sum(gamma * (w * np.exp(gamma * u)) ** 2) - 0.5

        end = brentq(excess, 0.0, 40.0, xtol=1e-13)
        exact = quad(speed, 0.0, end, epsabs=0.0, epsrel=1e-11, limit=500)[0]
        s0 = orth.equivalent_initialization(w[None], gamma[:1], np.eye(2)[:, :1])[1]
        shifts.append(exact / orth.step_times(gamma[:1], s0)[0] - 1.0)
    assert 0 < shifts[0] < 0.05
    assert np.log10(shifts[0] / shifts[1]) == pytest.approx(power, abs=0.03)


def test_directions_without_gradient_keep_their_weights_and_negative_ones_lose_them():
    gamma, rate = np.array([1.0, 0.5, 0.0, -0.3]), 1e-3
    w0 = 0.05 * np.random.default_rng(4).standard_normal((2, 4))
    maps = descend(gamma, w0, rate, 3000)
    np.testing.assert_allclose(maps[-1][:, 2], w0[:, 2], atol=1e-9)
    # Beside a mode gamma_j that is learned, a part fades like t^(gamma_k / gamma_j).
    assert np.abs(maps[-1][:, 3]).max() < 0.3 * np.abs(w0[:, 3]).max()
    np.testing.assert_allclose(eigenvalues(maps[-1:], gamma), 1.0, atol=5 * rate)


def descend_alone(s, rate, updates, momentum=0.0):
    """Singular values of a single mode with gamma = 1."""
    buffer, values = 0.0, [s]
    for _ in range(updates):
        buffer = momentum * buffer + 4.0 * s * (s * s - 1.0)
        s -= rate * np.sign(buffer)
        values.append(s)
    return np.array(values)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_a_learned_mode_stays_within_the_largest_deviation(momentum, share):
    rate = share * orth.stable_learning_rate([1.0], momentum)
    bound = orth.largest_deviation(rate, momentum)
    for start in np.linspace(1e-3, 1e-3 + rate, 7):
        s = descend_alone(start, rate, int(3.0 / rate) + 200, momentum)
        learned = s[int(np.argmax(s >= 1.0)) :]
        assert learned.max() <= 1.0 + bound + 1e-12
        assert learned.min() >= 1.0 - bound - 1e-12
        assert learned.min() ** 2 >= 0.5
        before = s[: int(np.argmax(s >= 1.0))]
        np.testing.assert_allclose(before, start + rate * np.arange(len(before)), rtol=1e-9)


def test_beyond_the_stable_rate_a_learned_mode_falls_below_one_half():
    rate = 1.2 * orth.stable_learning_rate([1.0])
    lowest = min(
        descend_alone(start, rate, 40)[20:].min() ** 2
        for start in np.linspace(1e-3, 1e-3 + rate, 40)
    )
    assert 0.3 < lowest < 0.5


def test_a_plateau_needs_a_factor_of_nine():
    flat = orth.plateaus([1.0, 0.112], [1e-4, 1e-4], dim=3)
    assert [plateau.modes for plateau in flat] == [0, 2]
    assert flat[-1].loss == 1.0
    flat = orth.plateaus([1.0, 0.110], [1e-4, 1e-4], dim=3)
    assert [plateau.modes for plateau in flat] == [0, 1, 2]
    begins, ends = orth.level_times([0.1, 0.9], [1.0], [1e-4])
    assert ends[0] - begins[0] == pytest.approx(np.sqrt(0.9) - np.sqrt(0.1))


def test_loss_and_levels_of_special_modes():
    gamma, s0 = [4.0, 1.0, 0.0, -1.0], [0.1, 0.0, 0.3, 0.2]
    assert orth.loss(np.inf, gamma, s0, dim=5) == 4.0
    times = orth.level_times([0.01, 0.99], gamma, s0)
    assert np.isinf(times[:, 1:]).all()
    np.testing.assert_allclose(times[:, 0], [0.0, np.sqrt(0.99 / 4.0) - 0.1])
    assert orth.step_times([1.0], [2.0]).tolist() == [0.0]
    assert orth.stable_learning_rate([0.0, -1.0]) == np.inf


def test_a_start_without_a_gradient_has_singular_values_of_its_rest():
    w0 = np.array([[1.0, 2.0], [0.0, 3.0]])
    left, s0 = orth.equivalent_initialization(w0, [1.0, 0.0], np.eye(2))
    np.testing.assert_allclose(np.abs(left), np.eye(2), atol=1e-15)
    np.testing.assert_allclose(s0, [1.0, 3.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: orth.polar_factor([1.0]), "matrix has shape"),
        (lambda: orth.polar_factor([[np.nan]]), "matrix holds 1 NaN"),
        (lambda: orth.step_times([1.0], [-1.0]), "none below zero"),
        (lambda: orth.level_times(1.0, [1.0], [1.0]), "between 0 and 1"),
        (lambda: orth.singular_values(-1.0, [1.0], [1.0]), "negative or NaN"),
        (lambda: orth.loss(0.0, [1.0, 1.0], [1.0, 1.0], dim=1), "dim is 1; expected at least"),
        (lambda: orth.step_iterations([1.0], [0.1], 0.0), "learning_rate is 0.0"),
        (lambda: orth.largest_deviation(0.1, 1.0), "momentum is 1.0"),
        (lambda: orth.stable_learning_rate([1.0], -0.1), "momentum is -0.1"),
        (lambda: orth.equivalent_initialization(np.eye(2), [1.0], np.eye(2)), "expected"),
        (lambda: orth.equivalent_initialization(np.ones((1, 2)), [1, 1], np.eye(2)), "k <= d"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
