"""Metrics of embeddings: what always holds, and that both rooms agree."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslsim.measures import embeddings as metrics
from theory.metrics import embeddings as twin

SEEDS = st.integers(0, 2**32 - 1)
# (n, d): wide, tall and square, with n < d < 2n and 2n < d among them.
SHAPES = st.tuples(st.integers(2, 14), st.integers(1, 14)) | st.just((3, 40)) | st.just((40, 3))
DTYPES = st.sampled_from([torch.float16, torch.float32, torch.float64])
ROUNDING = 1e-12  # thousands of roundings of float64


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def rotation(seed, d):
    return np.linalg.qr(normal(seed, d, d))[0]


@given(SEEDS, SHAPES, DTYPES, st.booleans())
def test_both_rooms_agree(seed, shape, dtype, deficient):
    n, d = shape
    z, z_prime = normal(seed, 2, n, d)
    if deficient:  # a rank of at most two
        z = z[:, :2] @ normal(seed + 1, d, 2)[:, : min(d, 2)].T
    z, z_prime = (torch.from_numpy(a).to(dtype) for a in (z, z_prime))
    a, b = z.double().numpy(), z_prime.double().numpy()
    groups = np.arange(n) // 2 % max(n // 2, 1)
    pairs = [
        (metrics.covariance_spectrum(z), twin.covariance_spectrum(a)),
        (metrics.covariance_spectrum(z, center=False), twin.covariance_spectrum(a, center=False)),
        (metrics.cross_spectrum(z, z_prime), twin.cross_spectrum(a, b)),
        (metrics.rank_me(z), twin.rank_me(a)),
        (metrics.alignment(z, z_prime), twin.alignment(a, b)),
        (metrics.alignment(z, z_prime, power=1.5), twin.alignment(a, b, power=1.5)),
        (metrics.uniformity(z), twin.uniformity(a)),
        (metrics.uniformity(z, t=0.5), twin.uniformity(a, t=0.5)),
        (metrics.linear_cka(z, z_prime), twin.linear_cka(a, b)),
        (metrics.linear_cka(z, z_prime[:, :1]), twin.linear_cka(a, b[:, :1])),
    ]
    if n >= 4:
        pairs.append((metrics.lidar(z, groups, 0.1), twin.lidar(a, groups, 0.1)))
    for found, exact in pairs:
        assert found.dtype == torch.float64
        # Spectra and distances are of the size of z squared.
        scale = 1 + np.square(a).sum() + np.square(b).sum()
        np.testing.assert_allclose(found.numpy(), exact, rtol=1e-10, atol=ROUNDING * scale)


@given(SEEDS, SHAPES, st.integers(1, 4))
def test_both_rooms_agree_on_subspaces(seed, shape, k):
    m = max(shape)
    u, v = normal(seed, 2, m, min(k, m))
    # The error of a basis grows with its condition number, up to 1e5 or so for these.
    found = metrics.subspace_alignment(torch.from_numpy(u), torch.from_numpy(v)).item()
    assert abs(found - twin.subspace_alignment(u, v)) < 1e-9
    assert -ROUNDING <= found <= 1 + ROUNDING


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12), st.floats(1e-3, 1e3))
def test_effective_rank_is_a_scale_free_count(values, scale):
    spectrum = torch.tensor(values, dtype=torch.float64)
    rank = metrics.effective_rank(spectrum).item()
    assert abs(rank - twin.effective_rank(values)) < ROUNDING * len(values)
    if all(v == 0 or v > 1e-300 for v in values):  # below, scaling itself loses digits
        assert abs(rank - metrics.effective_rank(scale * spectrum.flip(0)).item()) < 1e-9
    if max(values) > 0:
        positive = sum(v > 0 for v in values)
        assert 1 - ROUNDING <= rank <= positive + ROUNDING * positive
    else:
        assert rank == 0


@given(SEEDS, st.integers(1, 10), st.integers(0, 5), st.integers(0, 20), st.floats(1e-3, 1e3))
def test_rank_me_counts_equal_singular_values(seed, k, more_rows, more_columns, scale):
    left = np.linalg.qr(normal(seed, k + more_rows, k))[0]
    right = np.linalg.qr(normal(seed + 1, k + more_columns, k))[0]
    rank = metrics.rank_me(torch.from_numpy(scale * left @ right.T)).item()
    # The other singular values are 1e-16 of these; each adds 37e-16 to the entropy.
    assert abs(rank - k) < 1e-11


@given(st.floats(0.0, 6.0), st.integers(2, 300), st.integers(1, 20), st.floats(1e-6, 1e6))
def test_alpha_req_of_a_power_law_is_its_exponent(exponent, d, first, scale):
    spectrum = scale * torch.arange(1, d + 1, dtype=torch.float64) ** -exponent
    last = d - 1 if d > 2 else d
    first = min(first, last - 1)
    found = metrics.alpha_req(spectrum, first, last).item()
    # A rounding of the logarithms, over their smallest spread.
    assert abs(found - exponent) < 1e-13 * (1 + abs(math.log(scale)) + exponent) * last
    assert abs(found - twin.alpha_req(spectrum.numpy(), first, last)) < 1e-11 * last


@given(SEEDS, st.integers(3, 60))
def test_alpha_req_of_any_spectrum_is_the_twins(seed, d):
    spectrum = np.sort(np.exp(3 * normal(seed, d)))[::-1].copy()
    found = metrics.alpha_req(torch.from_numpy(spectrum), 2, d).item()
    assert abs(found - twin.alpha_req(spectrum, 2, d)) < 1e-10


@given(SEEDS, SHAPES, st.floats(1e-3, 1e3))
def test_cka_ignores_rotation_scale_and_shift(seed, shape, scale):
    n, d = shape
    x, y = normal(seed, n, d), normal(seed + 1, n, 5)
    moved = scale * (x @ rotation(seed, d) + normal(seed + 2, d))
    # Shifts cost what they exceed the spread by: two close samples are two digits at worst here.
    first = metrics.linear_cka(torch.from_numpy(x), torch.from_numpy(y)).item()
    second = metrics.linear_cka(torch.from_numpy(moved), torch.from_numpy(y)).item()
    assert abs(first - second) < 1e-8
    assert -ROUNDING <= first <= 1 + ROUNDING
    assert abs(metrics.linear_cka(torch.from_numpy(x), torch.from_numpy(moved)).item() - 1) < 1e-8
    swapped = metrics.linear_cka(torch.from_numpy(y), torch.from_numpy(x)).item()
    assert abs(first - swapped) < ROUNDING


@given(SEEDS, SHAPES, st.floats(1e-3, 1e3))
def test_the_sphere_ignores_rotation_and_scale(seed, shape, scale):
    n, d = shape
    z, z_prime = torch.from_numpy(normal(seed, 2, n, d))
    turn = torch.from_numpy(scale * rotation(seed, d))
    close = {"rtol": 0, "atol": 1e-11}
    torch.testing.assert_close(metrics.uniformity(z @ turn), metrics.uniformity(z), **close)
    both = metrics.alignment(z @ turn, z_prime @ turn)
    torch.testing.assert_close(both, metrics.alignment(z, z_prime), **close)
    assert -8 - ROUNDING <= metrics.uniformity(z).item() <= ROUNDING
    assert 0 <= both.item() <= 4 + ROUNDING
    assert metrics.alignment(z, 2 * z).item() < ROUNDING


@given(SEEDS, SHAPES)
def test_spectra_have_the_trace_and_follow_rotation(seed, shape):
    n, d = shape
    z, z_prime = torch.from_numpy(normal(seed, 2, n, d))
    turn = torch.from_numpy(rotation(seed, d))
    tolerance = {"rtol": 1e-11, "atol": 1e-11}
    covariance = metrics.covariance_spectrum(z, center=False)
    cross = metrics.cross_spectrum(z, z_prime)
    for spectrum, trace in ((covariance, (z * z).sum() / n), (cross, (z * z_prime).sum() / n)):
        assert spectrum.shape == (d,)
        assert (spectrum.diff() <= 0).all()
        torch.testing.assert_close(spectrum.sum(), trace, **tolerance)
    assert (covariance >= 0).all()
    torch.testing.assert_close(metrics.cross_spectrum(z, z), covariance, **tolerance)
    torch.testing.assert_close(metrics.cross_spectrum(z_prime, z), cross, **tolerance)
    torch.testing.assert_close(metrics.cross_spectrum(z @ turn, z_prime @ turn), cross, **tolerance)
    shifted = metrics.covariance_spectrum(z + 3)
    torch.testing.assert_close(shifted, metrics.covariance_spectrum(z), **tolerance)


@given(SEEDS, st.integers(2, 6), st.integers(2, 4), st.integers(1, 40), st.floats(1e-3, 1e3))
def test_lidar_ignores_names_order_rotation_and_joint_scale(seed, images, views, d, scale):
    n = images * views
    rng = np.random.default_rng(seed)
    z, groups = rng.standard_normal((n, d)), np.repeat(np.arange(images), views)
    order = rng.permutation(n)
    names = rng.permutation(100)[:images]
    rank = metrics.lidar(torch.from_numpy(z), torch.from_numpy(groups), 0.01).item()
    moved = scale * (z @ rotation(seed, d))[order]
    other = metrics.lidar(
        torch.from_numpy(moved), torch.from_numpy(names[groups[order]]), 0.01 * scale**2
    ).item()
    assert abs(rank - other) < 1e-8 * rank
    assert 1 - ROUNDING <= rank <= min(d, images - 1) + 1e-9
