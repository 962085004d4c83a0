"""Operators near the origin against literal losses, and growth against training."""

import itertools

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from theory.linear.initialization import equivalent_initialization
from theory.losses.near_origin import (
    amplitude_times,
    barlow_twins_operator,
    growth,
    growth_modes,
    in_eigenbasis,
    lejepa_operator,
    simclr_operator,
)


@pytest.fixture
def views():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(7, 4)) * [2.0, 1.0, 0.5, 0.3] + 0.7
    return shared + 0.4 * rng.normal(size=(7, 4)), shared + 0.4 * rng.normal(size=(7, 4))


def barlow_twins_loss(w, x, x_prime):
    total = np.zeros((len(w), len(w)))
    for a, b in zip(x, x_prime, strict=True):
        total += np.outer(w @ a, w @ b) + np.outer(w @ b, w @ a)
    return np.sum((total / (2 * len(x)) - np.eye(len(w))) ** 2)


def nt_xent_loss(w, x, x_prime, temperature):
    """NT-Xent of 2N anchors, dot products, one anchor at a time."""
    z = np.concatenate([x, x_prime]) @ w.T
    n, total = len(x), 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = sum(np.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i)
        total -= np.log(np.exp(z[i] @ z[partner] / temperature) / others)
    return total / (2 * n)


def epps_pulley(p):
    """Statistic of values by a closed form: sums over pairs of values, without a quadrature."""
    pairs = np.exp(-(np.subtract.outer(p, p) ** 2) / 2).mean()
    return len(p) * (
        np.sqrt(2 * np.pi) * pairs
        - 2 * np.sqrt(np.pi) * np.exp(-(p**2) / 4).mean()
        + np.sqrt(2 * np.pi / 3)
    )


def lejepa_loss(w, x, x_prime, lam):
    """For two dimensions: directions at evenly spaced angles, whose second moment is I / 2."""
    z, z_prime = x @ w.T, x_prime @ w.T
    angles = np.pi * np.arange(5) / 5
    statistic = np.mean(
        [
            epps_pulley(view @ [np.cos(angle), np.sin(angle)])
            for angle in angles
            for view in (z, z_prime)
        ]
    )
    center = (z + z_prime) / 2
    prediction = np.mean([(z - center) ** 2, (z_prime - center) ** 2])
    return (1 - lam) * prediction + lam * statistic


def operator_of_two_dimensions(x, x_prime, lam):
    return lejepa_operator(x, x_prime, dim=2, lam=lam)


def numerical_gradient(loss, w, step):
    gradient = np.zeros_like(w)
    for index in np.ndindex(w.shape):
        shift = np.zeros_like(w)
        shift[index] = step
        gradient[index] = (loss(w + shift) - loss(w - shift)) / (2 * step)
    return gradient


CASES = {
    "barlow twins": (barlow_twins_loss, barlow_twins_operator, {}),
    "simclr": (nt_xent_loss, simclr_operator, {"temperature": 0.3}),
    "lejepa": (lejepa_loss, operator_of_two_dimensions, {"lam": 0.2}),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_near_the_origin_is_minus_two_w_operator(views, name):
    loss, operator, options = CASES[name]
    w = 1e-3 * np.random.default_rng(1).normal(size=(2, 4))
    gradient = numerical_gradient(lambda w: loss(w, *views, **options), w, step=1e-4)
    expected = -2.0 * w @ operator(*views, **options)
    # Terms of fourth order in w leave a relative error of about |w|^2 |x|^2 / T, 1e-4 here.
    assert np.abs(gradient - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_training_from_a_small_initialisation_grows_at_the_predicted_rates(views, name):
    loss, operator, options = CASES[name]
    cm = operator(*views, **options)
    modes = growth_modes(cm, 2)
    w0 = 1e-5 * np.random.default_rng(2).normal(size=(2, 4))
    span = 3.0 / modes.rates[0]  # twentyfold growth
    flow = solve_ivp(
        lambda _, w: (
            -numerical_gradient(
                lambda v: loss(v, *views, **options), w.reshape(2, 4), step=2e-3
            ).ravel()
        ),
        (0, span),
        w0.ravel(),
        rtol=1e-6,
        atol=1e-12,
    )
    trained = flow.y[:, -1].reshape(2, 4)
    predicted = w0 @ expm(2.0 * cm * span)
    # The finite-difference step of 2e-3 leaves about 1e-5.
    assert np.abs(trained - predicted).max() < 2e-4 * np.abs(predicted).max()
    assert np.allclose(growth(cm, w0, span), predicted, rtol=1e-10)
    # Along each eigenvector the weights grow by exp(2 nu t).
    ratio = (trained @ modes.basis[:, 0]) / (w0 @ modes.basis[:, 0])
    assert np.allclose(np.log(ratio) / span, modes.rates[0], rtol=1e-3)


def test_simclr_operator_is_the_literal_difference(views):
    z = np.concatenate(views)
    n = len(z) // 2
    repulsion = sum(np.outer(z[i], z[k]) for i in range(2 * n) for k in range(2 * n) if i != k) / (
        2 * n * (2 * n - 1)
    )
    gamma = sum(np.outer(z[i], z[(i + n) % (2 * n)]) for i in range(2 * n)) / (2 * n)
    assert np.allclose(simclr_operator(*views, 0.2), (gamma - repulsion) / 0.2, rtol=1e-12)


def test_simclr_operator_keeps_its_digits_under_a_large_mean(views):
    x, x_prime = views
    shifted = simclr_operator(x + 1e6, x_prime + 1e6, 0.5)
    # A shift of 1e6 rounds the inputs by 1e-10; squares of the mean would cost 1e-4.
    assert np.allclose(shifted, simclr_operator(x, x_prime, 0.5), atol=1e-8)


def test_the_statistic_near_the_origin_is_the_series_of_its_integral():
    """By sympy: of two projections, scaled by e, up to second order in e."""
    t, e, p, q = sympy.symbols("t e p q", real=True)
    real = (sympy.cos(t * e * p) + sympy.cos(t * e * q)) / 2 - sympy.exp(-(t**2) / 2)
    imaginary = (sympy.sin(t * e * p) + sympy.sin(t * e * q)) / 2
    integrand = (real**2 + imaginary**2) * sympy.exp(-(t**2) / 2)
    second = sympy.diff(integrand, e, 2).subs(e, 0) / 2
    found = 2 * sympy.integrate(sympy.expand(second), (t, -sympy.oo, sympy.oo))
    # One dimension, one direction: minus the operator of the two "views" with themselves.
    x = np.array([[0.3], [1.1]])
    expected = float(found.subs({p: x[0, 0], q: x[1, 0]}))
    assert lejepa_operator(x, x, dim=1, lam=1.0)[0, 0] == pytest.approx(-expected, rel=1e-12)


def test_lejepa_operator_is_the_mean_over_all_batches():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(5, 3)) + 1
    x_prime = x + 0.3 * rng.normal(size=(5, 3))
    batches = [list(rows) for rows in itertools.combinations(range(5), 2)]
    mean = np.mean([lejepa_operator(x[b], x_prime[b], dim=4, lam=0.3) for b in batches], axis=0)
    found = lejepa_operator(x, x_prime, dim=4, lam=0.3, batch=2)
    assert np.allclose(found, mean, rtol=1e-12, atol=1e-14)
    assert not np.allclose(found, 2 / 5 * lejepa_operator(x, x_prime, dim=4, lam=0.3), rtol=0.05)


def test_lejepa_removes_the_mean_and_spreads_the_rest():
    x = np.random.default_rng(6).normal([5.0, 0.0, 0.0], 1.0, (40, 3))
    nu, basis, _ = in_eigenbasis(lejepa_operator(x, x, dim=2), np.zeros((1, 3)))
    assert np.all(nu[:2] > 0)
    assert nu[2] < 0
    assert abs(basis[0, 2]) > 0.99


def test_generic_initialisation_grows_as_the_qr_factor():
    cm = np.diag([2.0, 1.2, 0.5, 0.1])
    w0 = 1e-8 * np.random.default_rng(3).normal(size=(3, 4))
    modes = growth_modes(cm, 3)
    _, s0 = equivalent_initialization(w0, modes.basis)
    t = 5.0
    grown = np.linalg.svd(growth(cm, w0, t), compute_uv=False)
    # Corrections are of order exp(-2 (rates[j] - rates[j + 1]) t), 1e-6 at the smallest gap of 1.4.
    assert np.allclose(grown, s0 * np.exp(modes.rates * t), rtol=1e-4)
    naive = np.linalg.norm(w0 @ modes.basis, axis=0) * np.exp(modes.rates * t)
    assert np.abs(naive / grown - 1).max() > 0.05


def test_amplitude_times_invert_growth():
    rates, s0 = np.array([4.0, 1.0, 0.0, -1.0]), np.full(4, 1e-6)
    times = amplitude_times(rates, s0, 1e-3)
    assert np.allclose(s0[:2] * np.exp(rates[:2] * times[:2]), 1e-3)
    assert np.all(np.isinf(times[2:]))
    assert np.isinf(amplitude_times([1.0], [0.0], 1.0)[0])
    assert amplitude_times([-1.0], [2.0], [1.0])[0] == 0.0


def test_growth_takes_times_of_any_shape_and_starts_at_w0():
    cm, w0 = np.array([[1.0, 0.3], [0.3, -1.0]]), np.array([[1e-3, 2e-3]])
    path = growth(cm, w0, [[0.0, 1.0], [2.0, 3.0]])
    assert path.shape == (2, 2, 1, 2)
    assert np.allclose(path[0, 0], w0, rtol=1e-14)
    assert np.allclose(path[1, 1], w0 @ expm(6.0 * cm), rtol=1e-12)


def test_growth_reaches_far_from_tiny_weights():
    # exp(2 * 400) overflows by itself; from 1e-300 it does not.
    assert growth([[400.0]], [[1e-300]], 1.0)[0, 0] == pytest.approx(np.exp(800 - 300 * np.log(10)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: growth([[1.0]], [[1.0]], 1e3), "largest float64"),
        (lambda: growth([[1.0]], [[0.0]], np.inf), "largest float64"),
        (lambda: growth([[1.0]], [[1.0]], -1.0), "negative"),
        (lambda: growth([[1.0]], [[1.0, 2.0]], 1.0), r"expected \(d, 1\)"),
        (lambda: growth([[0.0, 1.0], [0.0, 0.0]], [[1.0, 2.0]], 1.0), "symmetric"),
        (lambda: in_eigenbasis([[1.0, 2.0]], [[1.0]]), "square"),
        (lambda: growth_modes([[1.0]], 2), "from 1 to 1"),
        (lambda: simclr_operator([[1.0], [2.0]], [[1.0], [2.0]], 0.0), "temperature"),
        (lambda: simclr_operator([[1.0], [2.0]], [[1.0]], 1.0), "equal shapes"),
        (lambda: simclr_operator([[1.0]], [[1.0]], 1.0), "two samples"),
        (lambda: lejepa_operator([[1.0], [2.0]], [[1.0], [2.0]], 0), "dim"),
        (lambda: lejepa_operator([[1.0], [2.0]], [[1.0], [2.0]], 1, lam=1.5), "lam is 1.5"),
        (lambda: lejepa_operator([[1.0], [2.0]], [[1.0], [2.0]], 1, batch=1), "batch"),
        (lambda: barlow_twins_operator([[1.0], [np.nan]], [[1.0], [1.0]]), "NaN"),
        (lambda: amplitude_times([1.0], [1.0, 2.0], 1.0), "equal shapes"),
        (lambda: amplitude_times([1.0], [-1.0], 1.0), "s0 >= 0"),
        (lambda: amplitude_times([1.0], [1.0], 0.0), "amplitude > 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
