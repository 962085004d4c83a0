"""Modes of a representation and their growth rates on held-out pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslsim.measures.spectra import cross_spectrum
from sslsim.ntk.representation_modes import representation_modes
from theory.pairs.gamma import cross_correlation, read_pairs


def _normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _pair(seed, n, p):
    shared = _normal(seed, n, p)
    return shared + 0.3 * _normal(seed + 1, n, p), shared + 0.3 * _normal(seed + 2, n, p)


sizes = st.tuples(st.integers(2, 9), st.integers(1, 30), st.integers(2, 9))


@given(sizes, st.integers(0, 100), st.sampled_from([1e-6, 1.0, 1e6]))
def test_eigenvalues_are_those_of_the_theory_s_cross_correlation(size, seed, scale):
    n, p, m = size
    fitted = tuple(scale * view for view in _pair(seed, n, p))
    modes = representation_modes(fitted, _pair(seed + 9, m, p), count=4)
    gamma = cross_correlation(read_pairs(*(view.numpy() for view in fitted)))
    expected = np.linalg.eigvalsh(gamma)[::-1][:4]
    found = modes.eigenvalues.numpy()
    top = np.linalg.norm(gamma, 2)
    if p > 2 * n:  # the rest are zeros of the whole matrix, some of which may come before ours
        expected, found = expected[expected > 1e-9 * top], found[found > 1e-9 * top]
        expected = expected[: len(found)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * (n + p) * top)


@given(sizes, st.integers(0, 100))
def test_rates_on_the_fitted_pairs_themselves_are_the_eigenvalues(size, seed):
    n, p, _ = size
    pair = _pair(seed, n, p)
    modes = representation_modes(pair, pair)
    top = float(modes.eigenvalues.abs().max())
    np.testing.assert_allclose(
        modes.held_out, modes.eigenvalues, rtol=0, atol=1e-12 * (n + p) * top
    )


@given(sizes, st.integers(0, 100))
def test_rates_are_a_literal_sum_over_held_out_pairs(size, seed):
    n, p, m = size
    fitted, held_out = _pair(seed, n, p), _pair(seed + 9, m, p)
    modes = representation_modes(fitted, held_out, count=1)
    gamma = (fitted[0].T @ fitted[1] + fitted[1].T @ fitted[0]) / (2 * n)
    v = torch.linalg.eigh(gamma).eigenvectors[:, -1]
    if modes.eigenvalues[0] <= 0 or len(modes.eigenvalues) != 1:
        return
    terms = [float((one @ v) * (two @ v)) for one, two in zip(*held_out, strict=True)]
    scale = float(held_out[0].norm() * held_out[1].norm())
    gap = torch.linalg.eigvalsh(gamma).diff()[-1:] if p > 1 else torch.ones(1)
    if float(gap.min()) < 1e-3 * float(modes.eigenvalues[0]):
        return  # the direction itself is not determined
    assert float(modes.held_out[0]) == pytest.approx(np.mean(terms), abs=1e-9 * scale)
    assert float(modes.standard_errors[0]) == pytest.approx(
        np.std(terms, ddof=1) / m**0.5, abs=1e-9 * scale
    )


def test_all_rates_of_a_whole_basis_add_up_to_no_more_than_the_power():
    pair = _pair(3, 40, 6)
    modes = representation_modes(pair, pair, count=6)
    assert float(modes.shares.sum()) <= 1 + 1e-12
    alike = (pair[0], pair[0])
    assert float(representation_modes(alike, alike, count=6).shares.sum()) == pytest.approx(1)


def test_planted_modes_are_resolved_and_those_of_noise_are_not():
    n, p, planted = 300, 400, 3
    scales = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)

    def draw(seed):
        signal = _normal(seed, n, planted) * scales
        noise = [0.3 * _normal(seed + k, n, p) for k in (1, 2)]
        for view in noise:
            view[:, :planted] += signal
        return tuple(noise)

    modes = representation_modes(draw(10), draw(20), count=8)
    assert modes.resolved[:planted].all()
    assert int(modes.resolved[planted:].sum()) <= 1  # of five, each wrong in 2 % of cases
    np.testing.assert_allclose(modes.held_out[:planted], scales**2, rtol=0.25)
    # What is fitted to noise promises growth that other pairs do not keep.
    assert (modes.eigenvalues[planted:] > 0.02).all()
    assert (modes.held_out[planted:].abs() < 0.02).all()


def test_modes_do_not_depend_on_which_side_is_smaller():
    fitted, held_out = _pair(5, 12, 20), _pair(6, 10, 20)
    whole = representation_modes(fitted, held_out, count=3)  # 2n above p
    wide = [tuple(torch.cat([v, torch.zeros(len(v), 30)], dim=1) for v in pair)
            for pair in (fitted, held_out)]  # fmt: skip
    narrow = representation_modes(*wide, count=3)
    for name in ("eigenvalues", "held_out", "standard_errors"):
        np.testing.assert_allclose(getattr(narrow, name), getattr(whole, name), rtol=1e-10)
    np.testing.assert_allclose(whole.eigenvalues, cross_spectrum(*fitted)[:3], rtol=1e-10)


@pytest.mark.parametrize(
    ("fitted", "held_out", "count", "message"),
    [
        ((2, 3), (2, 3), 0, "count is 0; expected at least 1"),
        ((2, 3), (2, 4), 1, "fitted has 3 features and held_out 4; expected the same number"),
    ],
)
def test_what_does_not_fit_is_refused(fitted, held_out, count, message):
    with pytest.raises(ValueError, match=message):
        representation_modes(_pair(0, *fitted), _pair(1, *held_out), count)
