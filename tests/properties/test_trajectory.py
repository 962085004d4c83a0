"""Spectra of embeddings depend on neither the order of samples nor the coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from sslsim.measures.trajectory import embedding_spectra

NUMBERS = ("effective_rank", "rank_me", "alpha_req", "coding_rate", "uniformity")
OF_TWO = ("cross_spectrum", "alignment", "lidar")


@st.composite
def trajectories(draw):
    """Embeddings of two views that grow mode by mode; samples, times and dimensions vary."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, n, d = draw(st.integers(1, 7)), draw(st.integers(3, 12)), draw(st.integers(2, 6))
    size = np.linspace(0.1, 1, count)[:, None, None] * rng.uniform(0.3, 3, d)
    z = size * rng.standard_normal((1, n, d))
    return z, z + 0.3 * size * rng.standard_normal((count, n, d)), rng


def assert_same(one, other, rtol=1e-7):
    for name in (*NUMBERS, *OF_TWO, "covariance_spectrum"):
        a, b = getattr(one, name), getattr(other, name)
        scale = np.abs(a).max()
        np.testing.assert_allclose(b, a, rtol=rtol, atol=1e-9 * scale, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(trajectories())
def test_a_rotation_of_the_embedding_changes_nothing(drawn):
    z, z_prime, rng = drawn
    rotation = ortho_group.rvs(z.shape[2], random_state=rng)
    assert_same(embedding_spectra(z, z_prime), embedding_spectra(z @ rotation, z_prime @ rotation))


@settings(max_examples=40, deadline=None)
@given(trajectories())
def test_the_order_of_the_samples_changes_nothing(drawn):
    z, z_prime, rng = drawn
    order = rng.permutation(z.shape[1])
    assert_same(embedding_spectra(z, z_prime), embedding_spectra(z[:, order], z_prime[:, order]))


@settings(max_examples=20, deadline=None)
@given(trajectories())
def test_arrays_tensors_and_lists_are_the_same(drawn):
    z, z_prime, _ = drawn
    found = embedding_spectra(z, z_prime)
    for views in ((torch.tensor(z), torch.tensor(z_prime)), (list(z), list(torch.tensor(z_prime)))):
        assert_same(found, embedding_spectra(*views), rtol=1e-13)


@settings(max_examples=20, deadline=None)
@given(trajectories())
def test_metrics_of_one_time_are_those_of_the_whole_and_one_view_gives_its_part(drawn):
    z, z_prime, _ = drawn
    whole, one = embedding_spectra(z, z_prime), embedding_spectra(z)
    last = embedding_spectra(z[-1:], z_prime[-1:])
    for name in (*NUMBERS, "covariance_spectrum"):
        np.testing.assert_array_equal(getattr(one, name), getattr(whole, name))
        np.testing.assert_array_equal(getattr(last, name)[0], getattr(whole, name)[-1])
    assert all(getattr(one, name) is None for name in OF_TWO)
    assert (whole.spectrum, one.spectrum) == ("cross", "covariance")


def test_spectra_are_the_literal_eigenvalues():
    rng = np.random.default_rng(1)
    z, z_prime = rng.standard_normal((2, 4, 9, 3))
    found = embedding_spectra(z, z_prime, [0, 1, 5, 9])
    for t in range(4):
        c = (z[t].T @ z_prime[t] + z_prime[t].T @ z[t]) / 18
        np.testing.assert_allclose(found.cross_spectrum[t], np.linalg.eigvalsh(c)[::-1])
        covariance = np.cov(z[t].T, bias=True)
        values = np.linalg.eigvalsh(covariance)[::-1]
        np.testing.assert_allclose(found.covariance_spectrum[t], values)
    assert found.times.tolist() == [0, 1, 5, 9]
    assert not found.detected.detected.any()  # too few times


def test_steps_are_found_at_their_times_in_any_unit():
    times = np.linspace(0, 20, 60)
    rng = np.random.default_rng(0)
    modes = np.linalg.qr(rng.standard_normal((50, 2)) - 0.5)[0] * np.sqrt(50)
    sizes = 1 / (1 + np.exp(-3 * (times[:, None] - [6.0, 13.0])))
    z = np.sqrt(sizes)[:, None, :] * modes
    found = embedding_spectra(z, z, times)
    np.testing.assert_allclose(found.detected.times, [6.0, 13.0], atol=0.1)
    scaled = embedding_spectra(z, z, 100 * times)
    np.testing.assert_allclose(scaled.detected.times, 100 * found.detected.times, rtol=1e-6)


def test_a_collapsed_embedding_is_flagged_where_it_is():
    rng = np.random.default_rng(0)
    good = rng.standard_normal((6, 3))
    found = embedding_spectra(np.stack([good, np.ones((6, 3)), np.outer(good[:, 0], [1, 1, 0])]))
    assert found.collapsed[0] is None
    assert "same for all images" in found.collapsed[1]
    assert "one dimension" in found.collapsed[2]


GOOD = np.random.default_rng(0).standard_normal((3, 6, 2))


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((GOOD[0],), {}, r"z has shape \(6, 2\); expected \(T, n, d\)"),
        ((GOOD[:, :1],), {}, "n of at least 2"),
        ((GOOD[:0],), {}, r"z has shape \(0,\); expected"),
        (([GOOD[0], GOOD[0][:4]],), {}, "of different shapes; expected"),
        ((GOOD, GOOD[:, :4]), {}, r"z has shape \(3, 6, 2\) and z_prime \(3, 4, 2\)"),
        ((GOOD, GOOD[:2]), {}, r"z has shape \(3, 6, 2\) and z_prime \(2, 6, 2\)"),
        ((GOOD, GOOD, [0, 1]), {}, r"times has shape \(2,\); expected \(3,\)"),
        ((GOOD, GOOD, [0, 1, 1]), {}, "times do not ascend"),
        ((GOOD, GOOD, [0, 1, np.inf]), {}, "times hold NaN or infinite values"),
        ((GOOD * [np.nan, 1],), {}, "embeddings 0 of 3: .* not finite"),
        ((GOOD * 1j,), {}, "complex"),
        ((GOOD,), {"spectrum": "cross"}, "there is one view"),
        ((GOOD, GOOD), {"spectrum": "both"}, "spectrum is 'both'; expected one of cross"),
    ],
)
def test_bad_embeddings_are_refused_in_one_line(arguments, options, expected):
    with pytest.raises(ValueError, match=expected) as caught:
        embedding_spectra(*arguments, **options)
    assert "\n" not in str(caught.value)
