"""Metrics of embeddings: planted answers, collapse, gradients, refused input."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from sslsim.coding_rate import coding_rate
from sslsim.core.checks import finite_matrix
from sslsim.measures import embeddings as metrics
from theory.metrics import embeddings as twin


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("images", [2, 5])
def test_lidar_counts_planted_classes(images):
    """Images at the vertices of a simplex: as many equal directions as there are, less one."""
    views, d = 4, 12
    means = 10 * torch.eye(d, dtype=torch.float64)[:images]
    spread = normal(images, views, d)
    spread -= spread.mean(dim=1, keepdim=True)
    z = (means[:, None] + 1e-6 * spread).reshape(-1, d)
    groups = torch.arange(images).repeat_interleave(views)
    # Views spread by 1e-6, a relative 1e-8 of delta.
    assert abs(metrics.lidar(z, groups).item() - (images - 1)) < 1e-7


def test_lidar_weighs_directions_by_the_spread_of_views():
    """Two directions of equal variance between images, views spread in one: Sw decides."""
    centres = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    spread = torch.tensor([[0.0, 0.5], [0.0, -0.5]], dtype=torch.float64)
    z = (centres[:, None] + spread).reshape(-1, 2)
    groups = torch.arange(4).repeat_interleave(2)
    eigenvalues = [1 / 0.5, 1 / (0.25 + 0.5)]
    share = np.array(eigenvalues) / sum(eigenvalues)
    exact = math.exp(-np.sum(share * np.log(share)))
    assert abs(metrics.lidar(z, groups, delta=0.5).item() - exact) < 1e-12


def test_uniformity_of_known_points():
    antipodal = torch.tensor([[3.0, 0.0], [-0.1, 0.0]])
    assert abs(metrics.uniformity(antipodal, t=3).item() + 12) < 1e-12
    triangle = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])  # all at squared distance 2
    assert abs(metrics.uniformity(triangle).item() + 4) < 1e-12
    # Widths that underflow as they are: exp(-4000) is zero.
    assert abs(metrics.uniformity(antipodal, t=1000).item() + 4000) < 1e-9


def test_uniformity_approaches_that_of_the_uniform_circle():
    """On a regular polygon the mean potential is exp(-2t) I_0(2t), less the pairs i = i."""
    n, t = 200, 2.0
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    z = torch.stack([angle.cos(), angle.sin()], dim=1)
    whole = np.exp(-2 * t) * np.i0(2 * t)  # the trapezium rule converges geometrically
    exact = math.log((n * whole - 1) / (n - 1))
    assert abs(metrics.uniformity(z, t).item() - exact) < 1e-12


def test_cka_of_disjoint_directions_is_zero_and_of_nested_ones_known():
    x, y = torch.zeros(2, 8, 1, dtype=torch.float64)
    x[:, 0] = torch.tensor([1.0, -1] * 4)
    y[:, 0] = torch.tensor([1.0, 1, -1, -1] * 2)
    assert metrics.linear_cka(x, y) == 0
    both = torch.cat([x, y], dim=1)
    # Gram matrices x x^T + y y^T and x x^T: product 64, norms 8 sqrt 2 and 8.
    assert abs(metrics.linear_cka(both, x).item() - math.sqrt(0.5)) < 1e-12


def test_alpha_req_leaves_out_what_is_rounding_and_indices_not_asked_for():
    spectrum = torch.arange(1, 31, dtype=torch.float64) ** -2
    spectrum[:3] = 10
    spectrum[20:] = 1e-17
    assert abs(metrics.alpha_req(spectrum, first=4).item() - 2) < 1e-12
    assert abs(metrics.alpha_req(spectrum, first=4, last=15).item() - 2) < 1e-12
    assert metrics.alpha_req(spectrum) != 2


def test_alpha_req_weighs_octaves_alike():
    """Three points, by hand: weights 6, 3, 2 of elevenths at log 1, 2, 3."""
    spectrum = torch.tensor([8.0, 4.0, 1.0])
    x, y, w = np.log([1, 2, 3]), np.log([8, 4, 1]), np.array([6, 3, 2]) / 11
    slope = (w * (x - w @ x)) @ y / (w @ (x - w @ x) ** 2)
    assert abs(metrics.alpha_req(spectrum).item() + slope) < 1e-12


def test_rank_me_is_not_moved_by_rounding():
    """Rank 2 in 200 x 300: roots of eigenvalues of Z Z^T would add 1e-3."""
    basis = torch.linalg.qr(normal(300, 2, seed=1)).Q
    z = torch.linalg.qr(normal(200, 2)).Q @ basis.T
    assert abs(metrics.rank_me(z).item() - 2) < 1e-10
    from_eigenvalues = metrics.effective_rank(metrics.covariance_spectrum(z, center=False).sqrt())
    assert from_eigenvalues - 2 > 1e-7


@pytest.mark.parametrize("room", [metrics, twin])
@pytest.mark.parametrize(("n", "d"), [(6, 3), (3, 20), (6, 8)])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e20, 1e-30])
def test_collapse_has_the_documented_values(room, n, d, value):
    z = torch.full((n, d), value, dtype=torch.float64)
    groups = torch.arange(n) % 2 if n > 3 else torch.zeros(n, dtype=torch.long)
    other = normal(n, d)
    if room is twin:
        z, groups, other = z.numpy(), groups.numpy(), other.numpy()
    spectrum = room.covariance_spectrum(z)
    assert (spectrum == 0).all()
    assert room.effective_rank(spectrum) == 0
    assert room.alpha_req(spectrum) == math.inf
    uncentred = room.covariance_spectrum(z, center=False)
    expected = [d * value**2] + [0] * (d - 1)
    np.testing.assert_allclose(uncentred, expected, rtol=1e-12, atol=1e-13 * d * value**2)
    assert room.alpha_req(uncentred) == math.inf
    assert room.rank_me(z) == 0
    assert abs(room.alignment(z, z)) == 0
    assert abs(room.uniformity(z)) < 1e-12
    assert room.linear_cka(z, other) == 0
    assert room.linear_cka(other, z) == 0
    assert room.linear_cka(z, z) == 0
    np.testing.assert_allclose(room.cross_spectrum(z, z), uncentred, atol=1e-12 * d * value**2)
    if n > 3:
        assert room.lidar(z, groups) == 0


def test_one_direction_left_has_rank_one():
    z = normal(10, 1) @ normal(1, 6)
    assert abs(metrics.rank_me(z).item() - 1) < 1e-10
    assert abs(metrics.effective_rank(metrics.covariance_spectrum(z)).item() - 1) < 1e-10
    groups = torch.arange(10) // 2
    assert abs(metrics.lidar(z, groups).item() - 1) < 1e-10


def test_alignment_and_uniformity_gradients():
    z, z_prime = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(metrics.alignment, (z, z_prime))
    assert torch.autograd.gradcheck(metrics.uniformity, (z,))
    wide = normal(3, 7).requires_grad_()
    assert torch.autograd.gradcheck(metrics.linear_cka, (wide, normal(3, 2, seed=2)))
    assert torch.autograd.gradcheck(metrics.linear_cka, (z, z_prime))


def test_no_matrix_of_the_longer_side_is_factorised(monkeypatch):
    sides = []

    def record(real, a):
        sides.append(max(a.shape))
        return real(a)

    for name in ("eigvalsh", "cholesky", "svdvals"):
        monkeypatch.setattr(torch.linalg, name, partial(record, getattr(torch.linalg, name)))
    z = normal(4, 300)
    metrics.covariance_spectrum(z)
    metrics.cross_spectrum(z, z)
    metrics.rank_me(z)
    metrics.lidar(z, torch.tensor([0, 0, 1, 1]))
    coding_rate(z, 1.0)
    assert sides == [4, 8, 4, 4, 2, 4]  # LiDAR: four samples, then two images
    sides.clear()
    metrics.covariance_spectrum(z.T)
    metrics.cross_spectrum(z.T, z.T)
    metrics.rank_me(z.T)
    coding_rate(z.T, 1.0)
    assert sides == [4, 4, 4, 4]


def test_no_result_keeps_a_graph_it_cannot_walk():
    z = normal(3, 10).requires_grad_()
    for value in (metrics.rank_me(z), metrics.cross_spectrum(z, z).sum()):
        assert math.isfinite(value.item())


ONE = torch.ones(1, 3)
TWO = torch.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, 1.0]])
NAN = torch.tensor([[1.0, math.nan, 0.0], [1.0, 2.0, 3.0]])
FOUR = torch.cat([TWO, -TWO])
REFUSED = [
    ("covariance_spectrum", (ONE,), "at least 2"),
    ("covariance_spectrum", (NAN,), "NaN"),
    ("covariance_spectrum", (torch.ones(3),), "shape"),
    ("covariance_spectrum", (torch.ones(3, 0),), "at least 1"),
    ("cross_spectrum", (TWO, TWO[:, :2]), "equal shapes"),
    ("cross_spectrum", (ONE, ONE), "at least"),
    ("cross_spectrum", (TWO, NAN), "NaN"),
    ("effective_rank", (TWO,), "shape|dimension"),
    ("effective_rank", (torch.ones(0),), "at least"),
    ("effective_rank", (torch.tensor([1.0, -1e-3]),), "negative"),
    ("effective_rank", (torch.tensor([1.0, math.inf]),), "NaN or infinite"),
    ("rank_me", (NAN,), "NaN"),
    ("alpha_req", (torch.tensor([1.0, 2.0]),), "descending"),
    ("alpha_req", (torch.tensor([2.0, 1.0]), 0), "expected"),
    ("alpha_req", (torch.tensor([2.0, 1.0]), 2, 1), "expected"),
    ("alpha_req", (torch.tensor([2.0, 1.0]), 1, 3), "expected"),
    ("lidar", (TWO, torch.tensor([0, 0, 1])), "one a row"),
    ("lidar", (TWO, torch.tensor([0, 0])), "two images"),
    ("lidar", (FOUR, torch.tensor([0, 0, 0, 1])), "two views"),
    ("lidar", (FOUR, torch.tensor([0, 0, 1, 1]), 0.0), "delta"),
    ("alignment", (TWO, ONE), "equal shapes"),
    ("alignment", (TWO, TWO, 0), "power"),
    ("alignment", (TWO, NAN), "NaN"),
    ("uniformity", (ONE,), "at least 2"),
    ("uniformity", (TWO, -1), "t is"),
    ("linear_cka", (TWO, FOUR), "same samples"),
    ("linear_cka", (ONE, ONE), "at least 2"),
    ("subspace_alignment", (FOUR, FOUR), "dependent"),
    ("subspace_alignment", (TWO, TWO), "dependent"),
    ("subspace_alignment", (FOUR, FOUR[:, :2]), "equal shapes"),
]


@pytest.mark.parametrize(("name", "given", "message"), REFUSED)
def test_unfit_input_is_refused_in_one_line_by_both_rooms(name, given, message):
    for room, convert in ((metrics, lambda a: a), (twin, np.asarray)):
        values = [convert(a) if isinstance(a, torch.Tensor) else a for a in given]
        with pytest.raises(ValueError, match=message) as error:
            getattr(room, name)(*values)
        assert "\n" not in str(error.value)


def test_both_rooms_have_the_same_names():
    assert metrics.__all__ == twin.__all__


def test_a_checked_matrix_keeps_its_type_and_graph():
    z = torch.ones(2, 2, dtype=torch.float16, requires_grad=True)
    assert finite_matrix("z", z) is z


def test_lidar_of_embeddings_that_diverge_is_a_number():
    # One direction 1e9 times as large: within covariances near 1e18, of which 1e-4 is rounding.
    z = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shared = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = z + 1e9 * z[:, :1] * shared
    found = metrics.lidar(z, torch.arange(20).repeat(2))
    assert 1 <= found <= 12
