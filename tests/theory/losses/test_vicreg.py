"""VICReg's operator against its published loss."""

import numpy as np
import pytest

from theory.losses.near_origin import growth, growth_modes
from theory.losses.vicreg import vicreg_operator, vicreg_valid_until


@pytest.fixture
def views():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(8, 4)) * [2.0, 1.0, 0.5, 0.3] + 0.7
    return shared + 0.3 * rng.normal(size=(8, 4)), shared + 0.3 * rng.normal(size=(8, 4))


def vicreg_loss(w, x, x_prime, mu, lam, nu=1.0, eps=1e-4):
    """The published loss, one embedding dimension and one entry at a time."""
    z, z_prime = x @ w.T, x_prime @ w.T
    n, d = z.shape
    invariance = sum((z[i, j] - z_prime[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    variance, covariance = 0.0, 0.0
    for view in (z, z_prime):
        hinge = [max(0.0, 1 - np.sqrt(np.var(view[:, j], ddof=1) + eps)) for j in range(d)]
        variance += np.mean(hinge) / 2
        cov = np.cov(view.T).reshape(d, d)
        covariance += sum(cov[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d
    return lam * invariance + mu * variance + nu * covariance


def gradient(w, x, x_prime, mu, lam, step):
    found = np.zeros_like(w)
    for index in np.ndindex(w.shape):
        shift = np.zeros_like(w)
        shift[index] = step
        up, down = (vicreg_loss(w + k * shift, x, x_prime, mu, lam) for k in (1, -1))
        found[index] = (up - down) / (2 * step)
    return found


@pytest.mark.parametrize(("mu", "lam"), [(25.0, 25.0), (1.0, 0.0), (0.0, 1.0), (0.1, 30.0)])
def test_gradient_near_the_origin(views, mu, lam):
    w = 1e-5 * np.random.default_rng(1).normal(size=(3, 4))
    expected = -2.0 * w @ vicreg_operator(*views, dim=3, mu=mu, lam=lam)
    # Variances are 1e-9, 1e-5 of eps; the loss is known to 1e-16 * mu.
    assert np.abs(gradient(w, *views, mu, lam, 1e-5) - expected).max() < 2e-4 * max(
        np.abs(expected).max(), 1e-6
    )


@pytest.mark.slow
def test_training_follows_the_operator_until_the_time_given(views):
    mu, lam, d = 25.0, 25.0, 2
    operator = vicreg_operator(*views, dim=d, mu=mu, lam=lam)
    w0 = 1e-5 * np.random.default_rng(2).normal(size=(d, 4))
    end = vicreg_valid_until(operator, w0, *views)
    steps = 100
    for factor, low, high in ((1.0, 0.0, 0.1), (1.5, 0.15, np.inf)):
        w = w0.copy()
        for _ in range(steps):  # midpoint rule
            half = w - factor * end / steps / 2 * gradient(w, *views, mu, lam, 1e-5)
            w = w - factor * end / steps * gradient(half, *views, mu, lam, 1e-5)
        predicted = growth(operator, w0, factor * end)
        assert low <= np.abs(w - predicted).max() / np.abs(predicted).max() <= high
    assert end > 2.0 / growth_modes(operator, 1).rates[0]


def test_no_variance_exceeds_the_fraction_before_the_time_given(views):
    operator = vicreg_operator(*views, dim=2, mu=25.0, lam=25.0)
    w0 = 1e-6 * np.random.default_rng(3).normal(size=(2, 4))
    end = vicreg_valid_until(operator, w0, *views, fraction=0.2)
    path = growth(operator, w0, np.linspace(0, end, 50))
    spread = [(view @ np.swapaxes(path, 1, 2)).var(axis=1, ddof=1).max() for view in views]
    assert 0.02e-4 < max(spread) <= 0.2e-4 * (1 + 1e-9)


def test_time_given_is_where_the_bound_reaches_the_fraction(views):
    operator = vicreg_operator(*views, dim=2, mu=25.0, lam=25.0)
    w0 = 1e-6 * np.random.default_rng(4).normal(size=(2, 4))
    end = vicreg_valid_until(operator, w0, *views, eps=1e-3, fraction=0.3)
    largest = max(np.linalg.norm(np.cov(view.T), 2) for view in views)
    norms = np.sum(growth(operator, w0, end) ** 2, axis=1)
    assert largest * norms.max() == pytest.approx(0.3e-3, rel=1e-8)


def test_time_is_zero_when_late_and_infinite_without_growth(views):
    operator = vicreg_operator(*views, dim=2, mu=25.0, lam=25.0)
    assert vicreg_valid_until(operator, np.ones((2, 4)), *views) == 0.0
    assert vicreg_valid_until(operator, np.zeros((2, 4)), *views) == np.inf
    assert vicreg_valid_until(-np.eye(4), 1e-6 * np.ones((2, 4)), *views) == np.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim"),
        ({"mu": -1.0}, "mu is -1.0"),
        ({"lam": np.nan}, "lam is nan"),
        ({"eps": 0.0}, "eps"),
        ({"eps": 1.0}, "below 1"),
    ],
)
def test_bad_input_is_refused(views, options, message):
    with pytest.raises(ValueError, match=message):
        vicreg_operator(*views, **{"dim": 2, "mu": 1.0, "lam": 1.0, **options})


def test_bad_shapes_are_refused(views):
    with pytest.raises(ValueError, match="as the operator has"):
        vicreg_valid_until(np.eye(3), np.ones((2, 3)), *views)
    with pytest.raises(ValueError, match="fraction"):
        vicreg_valid_until(np.eye(4), np.ones((2, 4)), *views, fraction=-1.0)
