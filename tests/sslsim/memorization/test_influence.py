"""Self-influence against exact leave-one-out, and the gradients that it is made of."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from sslsim.encoders.build import Encoder, build_encoder
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization import alignment_loss
from sslsim.memorization.losses import Scoring
from sslsim.memorization.one_encoder.influence import (
    alignment_gradients,
    influence_scores,
    score_influence,
)


def least_squares(n=200, p=8, seed=0):
    """Rows, residuals of the fit of all, and the exact rise of a loss when its row is left out."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, p)) * rng.exponential(size=(n, 1))
    targets = rows @ rng.standard_normal(p) + rng.standard_normal(n)

    def residuals(weights):
        root = np.sqrt(weights)
        fit = np.linalg.lstsq(rows * root[:, None], targets * root, rcond=None)[0]
        return rows @ fit - targets

    exact = np.empty(n)
    whole = residuals(np.ones(n))
    for i in range(n):
        weights = np.ones(n)
        weights[i] = 0.0
        exact[i] = (residuals(weights)[i] ** 2 - whole[i] ** 2) / 2
    return rows, residuals, whole, exact


def test_without_projection_and_damping_it_is_leave_one_out_to_first_order():
    rows, residuals, whole, exact = least_squares()
    gradients = torch.as_tensor(rows * whole[:, None])
    found = influence_scores(gradients, damping=0.0, curvature=torch.as_tensor(rows)).numpy()
    # The derivative of a loss by the weight of its row in the training.
    step = 1e-5
    for i in range(0, 200, 17):
        losses = []
        for sign in (1, -1):
            weights = np.ones(200)
            weights[i] += sign * step
            losses.append(residuals(weights)[i] ** 2 / 2)
        assert found[i] == pytest.approx((losses[1] - losses[0]) / (2 * step), rel=1e-5)
    assert stats.spearmanr(found, exact).statistic > 0.99
    # What first order leaves out falls with the number of rows.
    gaps = []
    for n in (100, 400):
        rows, _, whole, exact = least_squares(n)
        found = influence_scores(
            torch.as_tensor(rows * whole[:, None]), 0.0, curvature=torch.as_tensor(rows)
        )
        gaps.append(float(np.abs(found.numpy() - exact).sum() / exact.sum()))
    assert gaps[1] < gaps[0] / 2


@pytest.mark.parametrize("damping", [0.0, 0.1, 1.0])
def test_second_moments_of_the_gradients_rank_like_exact_leave_one_out(damping):
    rows, _, whole, exact = least_squares()
    gradients = torch.as_tensor(rows * whole[:, None])
    found = influence_scores(gradients, damping)
    assert stats.spearmanr(found, exact).statistic > 0.9
    # Faults: images exchanged, and scores turned round.
    assert abs(stats.spearmanr(found.roll(1), exact).statistic) < 0.3
    assert stats.spearmanr(-found, exact).statistic < -0.9


def test_it_is_the_formula():
    gradients = np.random.default_rng(0).standard_normal((30, 6))
    curvature = np.random.default_rng(1).standard_normal((50, 6))
    for rows, given in ((gradients, None), (curvature, torch.as_tensor(curvature))):
        moments = rows.T @ rows / len(rows)
        damped = moments + 0.3 * np.trace(moments) / 6 * np.eye(6)
        expected = [g @ np.linalg.solve(damped, g) / 30 for g in gradients]
        found = influence_scores(torch.as_tensor(gradients), 0.3, curvature=given)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_its_scale_and_its_limits(monkeypatch):
    gradients = torch.as_tensor(np.random.default_rng(0).standard_normal((30, 6)))
    found = influence_scores(gradients, 0.3)
    torch.testing.assert_close(influence_scores(1e4 * gradients, 0.3), found)
    torch.testing.assert_close(influence_scores(3 * gradients, 0.3, curvature=gradients), 9 * found)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(influence_scores(gradients[order], 0.3), found[order])
    rotation = torch.linalg.qr(torch.as_tensor(np.random.default_rng(1).standard_normal((6, 6))))[0]
    torch.testing.assert_close(influence_scores(gradients @ rotation, 0.3), found)
    # Undamped it is a leverage, whose sum is the rank.
    leverage = influence_scores(torch.cat([gradients, gradients[:, :2]], dim=1), 0.0)
    assert float(leverage.sum()) == pytest.approx(6)
    assert 0 <= leverage.min() <= leverage.max() <= 1
    much = influence_scores(gradients, 1e9)
    squares = gradients.square().sum(dim=1)
    torch.testing.assert_close(much / much.sum(), squares / squares.sum())
    assert not influence_scores(torch.zeros(4, 3)).any()
    monkeypatch.setattr("sslsim.memorization.one_encoder.influence._ROWS", 7)
    torch.testing.assert_close(influence_scores(gradients, 0.3), found)


@pytest.mark.parametrize(
    ("gradients", "options", "message"),
    [
        (torch.ones(3), {}, "expected .n, p. and .m, p."),
        (torch.ones(3, 2), {"curvature": torch.ones(3, 3)}, "with equal p"),
        (torch.ones(0, 2), {}, "expected no zero in it"),
        (torch.full((3, 2), torch.inf), {}, "NaN or infinite"),
        (torch.ones(3, 2), {"damping": -1.0}, "damping is -1.0"),
        (torch.ones(3, 2), {"damping": float("nan")}, "damping is nan"),
    ],
)
def test_bad_gradients_are_refused(gradients, options, message):
    with pytest.raises(ValueError, match=message):
        influence_scores(gradients, **options)


def some_images(n=6, size=8, channels=1):
    shape = (n, channels, size, size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("distance", ["l2", "l1", "cosine", "angular", "sqeuclidean"])
@pytest.mark.parametrize("layer", ["backbone", "projector"])
def test_gradients_are_those_of_the_alignment_loss(distance, layer):
    images, numbers = some_images(), torch.tensor([3, 70, 5, 64, 0, 9])
    network = build_encoder("mlp", (1, 6, 6), 3, widths=(4,), seed=0).double().eval()
    encoder = FrozenEncoder(network, None, "crops")
    scoring = Scoring("crops", (layer,), pairs=2, distance=distance, seed=3)
    found, squares = alignment_gradients(
        encoder, images, scoring, layer, projection=None, numbers=numbers
    )
    part = network if layer == "projector" else network.backbone
    parameters = list(part.parameters())
    assert found.shape == (6, sum(p.numel() for p in parameters))
    torch.testing.assert_close(found.double().square().sum(dim=1), squares, rtol=1e-4, atol=1e-9)

    def losses():
        loss = alignment_loss(
            network, images, "crops", layer=layer, pairs=2, distance=distance, seed=3,
            numbers=numbers,
        )  # fmt: skip
        return loss.mean

    # By finite differences of what is scored, along one direction.
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=GENERATOR) for p in parameters]
    changed = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += sign * 1e-6 * d
            changed.append(losses())
            for p, d in zip(parameters, direction, strict=True):
                p -= sign * 1e-6 * d
    slopes = (changed[0] - changed[1]) / 2e-6
    flat = torch.cat([d.flatten() for d in direction])
    torch.testing.assert_close(found.double() @ flat, slopes, rtol=1e-3, atol=1e-5)


GENERATOR = torch.Generator().manual_seed(7)


def test_a_resnet_with_batch_norm_scores_every_image_by_itself():
    images = some_images(5, 16, 3)
    network = build_encoder("resnet18", (3, 16, 16), 4, widths=(4,), seed=0, projector="mlp",
                            projector_widths=(8,))  # fmt: skip
    network.train()
    for _ in range(3):  # running statistics that are not those at the start
        network(torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    encoder = FrozenEncoder(network, None, "weak")
    with pytest.raises(ValueError, match="in training mode"):
        alignment_gradients(encoder, images, Scoring("weak"))
    network.eval()
    scoring = Scoring("weak", ("backbone", "projector"), pairs=2)
    whole = score_influence([encoder], images, scoring, projection=64)
    assert whole.scores.shape == (2, 5)
    assert np.isfinite(whole.scores).all()
    assert (whole.gradient_norms > 0).all()
    gradients, squares = alignment_gradients(encoder, images, scoring, projection=64)
    rows = torch.tensor([1, 4])
    alone, of_rows = alignment_gradients(
        encoder, images[rows], scoring, projection=64, numbers=rows
    )
    torch.testing.assert_close(alone, gradients[rows], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(of_rows, squares[rows], rtol=1e-3, atol=1e-9)


def test_the_projection_keeps_products_of_gradients_on_average():
    images = some_images(8)
    network = build_encoder("mlp", (1, 6, 6), 3, widths=(100, 100), seed=0).eval()
    encoder, scoring = FrozenEncoder(network, None, "crops"), Scoring("crops", pairs=2)
    exact, squares = alignment_gradients(encoder, images, scoring, projection=None)
    kernel = exact @ exact.T
    scale = squares.sqrt()[:, None] * squares.sqrt()
    gaps = []
    for size in (256, 1024, 4096):
        found, _ = alignment_gradients(encoder, images, scoring, projection=size)
        assert found.shape == (8, size)
        gaps.append(float((((found @ found.T) - kernel) / scale).abs().mean()))
        assert gaps[-1] < 2 / size**0.5  # sqrt(2 / p) is the standard error of a squared norm
    assert gaps[2] < gaps[0]
    again, _ = alignment_gradients(encoder, images, scoring, projection=256)
    torch.testing.assert_close(
        again, alignment_gradients(encoder, images, scoring, projection=256)[0], rtol=0, atol=0
    )
    # Fewer parameters than dimensions: nothing is projected.
    count = sum(p.numel() for p in network.backbone.parameters())
    assert alignment_gradients(encoder, images, scoring, projection=10**6)[0].shape[1] == count


def test_views_that_are_one_point_have_no_gradient():
    images = some_images(4)
    images[2] = 128  # all crops of it are alike
    network = build_encoder("mlp", (1, 6, 6), 3, widths=(4,), seed=0).eval()
    encoder = FrozenEncoder(network, None, "crops")
    gradients, squares = alignment_gradients(encoder, images, Scoring("crops", pairs=2))
    assert not gradients[2].any()
    assert squares[2] == 0
    assert torch.isfinite(gradients).all()
    assert score_influence([encoder], images, Scoring("crops", pairs=2)).scores[0, 2] == 0


def test_scores_are_means_over_encoders():
    images = some_images(5)
    encoders = [
        FrozenEncoder(build_encoder("mlp", (1, 6, 6), 3, widths=(4,), seed=s).eval(), None, "crops")
        for s in range(3)
    ]
    scoring = Scoring("crops", ("projector",), pairs=2)
    found = score_influence(encoders, images, scoring)
    alone = [score_influence([encoder], images, scoring) for encoder in encoders]
    units = np.stack([each.scores[0] for each in alone])
    np.testing.assert_allclose(found.units[0], units)
    np.testing.assert_allclose(found.scores[0], units.mean(axis=0))
    np.testing.assert_allclose(found.standard_error[0], stats.sem(units))
    assert np.isnan(alone[0].standard_error).all()
    np.testing.assert_allclose(found.losses, np.concatenate([each.losses for each in alone]))
    assert found.members.all()


def test_bad_networks_and_layers_are_refused():
    images, scoring = some_images(3), Scoring("crops")
    network = build_encoder("mlp", (1, 6, 6), 3, widths=(4,), seed=0).eval()
    encoder = FrozenEncoder(network, None, "crops")
    with pytest.raises(ValueError, match="layer is 'layer1'; expected one of backbone, projector"):
        alignment_gradients(encoder, images, scoring, "layer1")
    with pytest.raises(ValueError, match="projection is 0"):
        alignment_gradients(encoder, images, scoring, projection=0)
    network.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that requires gradients"):
        alignment_gradients(encoder, images, scoring)
    flat = FrozenEncoder(Encoder(nn.Flatten(), nn.Linear(36, 2), 36, 2).eval(), None, "crops")
    with pytest.raises(ValueError, match="no parameter that requires gradients"):
        alignment_gradients(flat, images, scoring)
