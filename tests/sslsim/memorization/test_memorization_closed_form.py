"""Measured alignment losses of linear encoders against their closed form: the two rooms meet."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from sslsim.data.datasets import load_images
from sslsim.data.pairs import draw_pairs
from sslsim.memorization import alignment_losses, representations
from sslsim.ntk import pair_ntk
from theory.linear.closed_form import final_weights
from theory.memorization.first_order import alignment_losses as squared_losses
from theory.memorization.first_order import first_order_scores, kernel_points, linear_points
from theory.memorization.leave_one_out import leave_one_out_scores

N, DIM = 120, 5


def every_crop(images):
    """All 18 crops of 8 x 8 images, flattened: nine places, mirrored or not."""
    crops = []
    for top, left in itertools.product(range(3), repeat=2):
        crop = images[:, 0, top : top + 6, left : left + 6]
        crops += [crop, crop.flip(-1)]
    return torch.stack([view.flatten(1) for view in crops], dim=1).double().numpy() / 255


@pytest.fixture(scope="module")
def digits():
    images = load_images("digits", limit=N).images
    stream = draw_pairs(images, "crops", N, seed=0)
    order = np.argsort(stream.groups)
    x, x_prime = (view[order] for view in stream.arrays())
    return images, x, x_prime, every_crop(images)


def trained(x, x_prime):
    """A linear encoder set to what training on these pairs converges to."""
    gamma, vectors = np.linalg.eigh((x.T @ x_prime + x_prime.T @ x) / (2 * len(x)))
    weights = final_weights(gamma[::-1][:DIM], np.eye(DIM), vectors[:, ::-1][:, :DIM])
    layer = nn.Linear(x.shape[1], DIM, bias=False).double()
    layer.weight.data = torch.from_numpy(weights.copy())
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.slow
def test_measured_scores_are_the_closed_form_within_their_error(digits):
    images, x, x_prime, crops = digits
    points = linear_points(x, x_prime, DIM, augmentations=crops, every=True)
    whole, exact = squared_losses(points), leave_one_out_scores(points, 1e-9).scores
    chosen, pairs = np.arange(0, N, 10), 2000
    left_out = [trained(np.delete(x, i, axis=0), np.delete(x_prime, i, axis=0)) for i in chosen]
    f, *g = alignment_losses(
        representations([trained(x, x_prime), *left_out]),
        images[chosen], "crops", distance="sqeuclidean", normalise=False, pairs=pairs,
        batch_size=4096, dtype=torch.float64,
    )  # fmt: skip
    z, saved = [], []
    for place, i in enumerate(chosen):
        one, other = (found.losses[place].numpy() for found in (f, g[place]))
        for drawn, value in ((one, whole[i]), (other - one, exact[i])):
            z.append((drawn.mean() - value) / (drawn.std(ddof=1) / np.sqrt(pairs)))
        saved.append((other - one).var() / (one.var() + other.var()))
    assert np.abs(z).max() < 4
    assert np.mean(np.square(z)) == pytest.approx(1, abs=4 * np.sqrt(2 / len(z)))
    # One point of 120 changes an encoder little: on common draws most of the noise is common.
    assert np.median(saved) < 0.01


@pytest.mark.parametrize("dim", [3, 5, 10])
def test_influence_ranks_crops_of_digits_as_leaving_out_does(digits, dim):
    _, x, x_prime, crops = digits
    for a, b in ((x, x_prime), (crops.mean(axis=1),) * 2):
        points = linear_points(a, b, dim, augmentations=crops, every=True)
        exact = leave_one_out_scores(points).scores
        assert spearmanr(first_order_scores(points), exact).statistic > 0.95
        assert np.ptp(exact) > 0.1 * squared_losses(points).mean() / N


def test_the_tangent_kernel_of_a_linear_encoder_gives_the_scores_of_its_inputs(digits):
    _, x, x_prime, _ = digits
    x, x_prime = x[:30], x_prime[:30]
    network = nn.Linear(36, 2, bias=False).double()
    kernel = pair_ntk(network, torch.from_numpy(x), torch.from_numpy(x_prime)).numpy()
    found = kernel_points(kernel, 3)
    expected = linear_points(x, x_prime, 3)
    for of in (first_order_scores, lambda points: leave_one_out_scores(points).scores):
        one = of(expected)
        # The scale of the kernel leaves scores: gamma and covariances have it both.
        np.testing.assert_allclose(of(found), one, rtol=0, atol=1e-7 * np.abs(one).max())
