"""Memorisation in closed form against models that are solved again without a point."""

import numpy as np
import pytest
import torch
from torch import nn

from experiments.studies.memorization import closed_form
from experiments.studies.memorization.closed_form import kernel_scores, linear_scores
from sslsim.core.seeds import derived_seed
from sslsim.data.datasets import load_images
from sslsim.data.pixels import pixel_statistics
from sslsim.memorization import alignment_losses, representations
from sslsim.memorization.views import ViewPairs
from sslsim.ntk import pair_ntk
from theory.kernels.modes import embed, kernel_modes
from theory.linear.closed_form import final_weights

IMAGES = load_images("digits", limit=70).images
PIXELS = pixel_statistics(IMAGES)
KEY = derived_seed(3, closed_form._TRAINED, 0)
SMALL = {"pairs": 2, "augmentations": 3, "seed": 3}


def drawn(images, kind, pairs, seed, pixels=None):
    return ViewPairs(images, torch.arange(len(images)), kind, pairs, seed, pixels, 0.1).stacked()


def trained(x, x_prime, dim):
    """The map that training on these pairs converges to."""
    gamma, vectors = np.linalg.eigh((x.T @ x_prime + x_prime.T @ x) / (2 * len(x)))
    return final_weights(gamma[::-1][:dim], np.eye(dim), vectors[:, ::-1][:, :dim])


def retrained(images, kind, dim, pixels):
    """Alignment losses of each image under the map trained on all, and without it."""
    x, x_prime = drawn(images, kind, 2, KEY, pixels).flatten(3).unbind(2)
    further = drawn(images, kind, 3, 3, pixels).flatten(3)
    losses = np.empty((2, len(images)))
    for i in range(len(images)):
        gap = (further[i, :, 0] - further[i, :, 1]).numpy()
        for j, kept in enumerate((np.arange(len(images)), np.delete(np.arange(len(images)), i))):
            w = trained(*(view[kept].flatten(0, 1).numpy() for view in (x, x_prime)), dim)
            losses[j, i] = np.mean(np.sum((gap @ w.T) ** 2, axis=1))
    return losses


@pytest.mark.parametrize(
    ("kind", "count", "pixels"), [("crops", 20, None), ("strong", 7, PIXELS), ("noise", 67, PIXELS)]
)
def test_linear_scores_are_those_of_maps_trained_without_each_image(kind, count, pixels):
    images = IMAGES[:count]  # 7 images: 28 views in 64 pixels; 67: two blocks
    after = retrained(images, kind, 3, pixels)
    found = linear_scores(images, kind, 3, pixels=pixels, exact=True, **SMALL)
    np.testing.assert_allclose(found.losses, after[0], rtol=1e-9)
    scale = after[0].mean() / count
    assert np.abs(found.scores - (after[1] - after[0])).max() < 1e-5 * scale
    assert found.errors.max() < 1e-5 * scale


def test_linear_losses_are_measured_on_the_same_views():
    x, x_prime = drawn(IMAGES, "crops", 2, KEY).flatten(3).flatten(0, 1).unbind(1)
    layer = nn.Linear(36, 4, bias=False).double()
    layer.weight.data = torch.from_numpy(trained(x.numpy(), x_prime.numpy(), 4).copy())
    (measured,) = alignment_losses(
        representations([nn.Sequential(nn.Flatten(), layer)]), IMAGES, "crops", pairs=3, seed=3,
        distance="sqeuclidean", normalise=False, dtype=torch.float64,
    )  # fmt: skip
    found = linear_scores(IMAGES, "crops", 4, **SMALL)
    np.testing.assert_allclose(found.losses, measured.mean.numpy(), rtol=1e-9)


def test_first_order_is_the_exact_score_of_many_images():
    wide = {"pairs": 4, "augmentations": 10}
    first, exact = (linear_scores(IMAGES, "crops", 4, exact=e, **wide) for e in (False, True))
    assert first.errors is None
    ranks = [np.argsort(np.argsort(found.scores)) for found in (first, exact)]
    assert np.corrcoef(*ranks)[0, 1] > 0.9
    np.testing.assert_array_equal(first.gamma, exact.gamma)


def test_an_image_is_scored_alike_in_any_place():
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    one = linear_scores(IMAGES, "crops", 3, **SMALL)
    other = linear_scores(IMAGES[order], "crops", 3, numbers=order, **SMALL)
    scale = np.abs(one.scores).max()
    np.testing.assert_allclose(other.scores, one.scores[order], rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("pairs", [1, 2])
def test_kernel_scores_are_those_of_kernels_without_each_image(pairs):
    images = IMAGES[:6]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 30), nn.Tanh(), nn.Linear(30, 2)).double()
    found = kernel_scores(
        network, images, "crops", 2, pairs=pairs, augmentations=3, seed=3, exact=True
    )
    x, x_prime = drawn(images, "crops", pairs, KEY).unbind(2)
    further = drawn(images, "crops", 3, 3)
    losses = np.empty((2, 6))
    for i in range(6):
        for j, kept in enumerate((list(range(6)), [k for k in range(6) if k != i])):
            a, b = x[kept].flatten(0, 1), x_prime[kept].flatten(0, 1)
            whole = pair_ntk(network, torch.cat([a, further[i, :, 0]]),
                             torch.cat([b, further[i, :, 1]])).numpy()  # fmt: skip
            n = len(a)
            views = np.r_[0:n, n + 3 : 2 * n + 3]
            modes = kernel_modes(whole[np.ix_(views, views)], 2)
            first, second = (embed(modes, whole[s : s + 3][:, views]) for s in (n, 2 * n + 3))
            losses[j, i] = np.mean(np.sum((first - second) ** 2, axis=1))
    np.testing.assert_allclose(found.losses, losses[0], rtol=1e-6)
    np.testing.assert_allclose(
        found.scores, losses[1] - losses[0], rtol=0, atol=1e-5 * losses[0].mean()
    )


def test_the_kernel_of_a_linear_map_scores_as_its_inputs_do():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False)).double()
    found = kernel_scores(network, IMAGES[:12], "crops", 3, pixels=PIXELS, **SMALL)
    expected = linear_scores(IMAGES[:12], "crops", 3, pixels=PIXELS, **SMALL)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-7)
    scale = np.abs(expected.scores).max()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6 * scale)


BAD = [
    ({"images": IMAGES[:2]}, r"2 image\(s\) given; expected at least 3"),
    ({"images": IMAGES.float()}, "expected uint8"),
    ({"kind": "zoom"}, "unknown views 'zoom'"),
    ({"pairs": 0}, "pairs is 0"),
    ({"augmentations": 0}, "augmentations is 0"),
    ({"seed": -1}, "seed is -1"),
    ({"dim": 0}, "0; expected"),
    ({"numbers": torch.zeros(70, dtype=torch.int64)}, "1 values; expected 70 different"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_told_in_one_line(change, message):
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    given = {"images": IMAGES, "kind": "crops", "dim": 2, "pairs": 1, "augmentations": 1, **change}
    for call in (linear_scores, lambda **options: kernel_scores(network, **options)):
        with pytest.raises(ValueError, match=message) as error:
            call(**given)
        assert "\n" not in str(error.value)
