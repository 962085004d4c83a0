"""Alignment losses and SSLMem scores: draws, streaming, precision and refusals."""

import math
from itertools import pairwise

import pytest
import torch
from tolerances import rounding
from torch import nn

from sslsim.core.seeds import derived_generator
from sslsim.data.single_view import VIEWS, draw_view
from sslsim.encoders.build import build_encoder
from sslsim.encoders.features import features
from sslsim.memorization import (
    AlignmentLoss,
    alignment_loss,
    alignment_losses,
    distances,
    looks_swapped,
    rank_points,
    remaining_points,
    representations,
    score_encoders,
    ssl_mem,
)
from sslsim.memorization.scores import check_losses
from sslsim.memorization.views import view_batches

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (70, 3, 12, 12), dtype=torch.uint8, generator=GENERATOR)
FLAT = nn.Flatten()


def linear(seed, inputs=243, dim=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, dim, bias=False)).double()


class Recorder:
    """Flattens views and keeps them, with the sizes of the batches they came in."""

    def __init__(self):
        self.views, self.sizes = [], []

    def __call__(self, views):
        """Flat views."""
        self.views.append(views)
        self.sizes.append(len(views))
        return views.flatten(1)


def assert_equal_losses(found, expected):
    """Of unit rows of float64; a distance sums 432 squares of their differences or fewer."""
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding(torch.float64, 432, 2.0))


@pytest.mark.machine
@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("distance", ["l2", "angular"])
def test_batch_sizes_agree(kind, distance):
    """Views are the same to the bit, and pixels are no encoder that could round."""
    found = [
        alignment_loss(FLAT, IMAGES, kind, pairs=3, distance=distance, batch_size=size).losses
        for size in (1, 7, 64, 1000)
    ]
    for other in found[1:]:
        assert_equal_losses(other, found[0])
    assert found[0].mean() > 0


@pytest.mark.machine
@pytest.mark.parametrize("kind", ["strong", "noise"])
def test_batch_sizes_agree_by_the_rounding_of_the_encoder(kind):
    """Sums of 432 products of float32 pixels, then of 64, in whatever order a kernel takes."""
    encoder = build_encoder("mlp", (3, 12, 12), 4, seed=0, widths=(64,))
    found = [
        alignment_loss(encoder, IMAGES, kind, pairs=3, batch_size=size).losses
        for size in (1, 7, 1000)
    ]
    # Errors are relative to the sizes of what is summed, no more than ten times the sum here.
    tolerance = rounding(torch.float32, 432 + 64, scale=10)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=tolerance)
    assert found[0].mean() > 100 * tolerance


@pytest.mark.machine
@pytest.mark.parametrize("kind", ["crops", "noise", "strong"])
def test_draws_of_an_image_depend_on_its_number_alone(kind):
    whole = alignment_loss(FLAT, IMAGES, kind, pairs=2).losses
    part = torch.tensor([69, 3, 65, 12])
    assert_equal_losses(
        alignment_loss(FLAT, IMAGES[part], kind, pairs=2, numbers=part).losses, whole[part]
    )
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    permuted = alignment_loss(FLAT, IMAGES[order], kind, pairs=2, numbers=order).losses
    assert_equal_losses(permuted, whole[order])
    assert_equal_losses(alignment_loss(FLAT, IMAGES[:5], kind, pairs=2).losses, whole[:5])
    more = alignment_loss(FLAT, IMAGES, kind, pairs=5).losses
    assert_equal_losses(more[:, :2], whole)
    other = alignment_loss(FLAT, IMAGES, kind, pairs=2, seed=1).losses
    assert (other - whole).abs().min(dim=1).values.median() > 1e-4


@pytest.mark.machine
@pytest.mark.parametrize("kind", VIEWS)
def test_views_of_a_whole_block_are_those_of_training(kind):
    seen = Recorder()
    alignment_loss(seen, IMAGES[:64], kind, pairs=2, seed=3, batch_size=64)
    generator = derived_generator(3, 12, 0)
    for number, view in enumerate(seen.views):
        expected = draw_view(IMAGES[:64], kind, generator, which=number % 2)
        assert torch.equal(view, expected)


def test_every_view_is_drawn_anew():
    same = IMAGES[:1].expand(70, -1, -1, -1).contiguous()
    seen = Recorder()
    alignment_loss(seen, same, "noise", pairs=3)
    views = torch.cat(seen.views).flatten(1)
    assert len(views) == 70 * 6
    assert len(views.unique(dim=0)) == 70 * 6


def test_no_more_views_pass_than_the_batch_size_and_no_view_twice():
    for against, views in (("view", 6), ("original", 4)):
        seen = Recorder()
        alignment_loss(seen, IMAGES, "weak", pairs=3, batch_size=50, against=against)
        assert max(seen.sizes) == 50
        assert sum(seen.sizes) == views * 70


def test_losses_are_distances_of_the_views_in_turn():
    seen = Recorder()
    encoder = linear(0)
    found = alignment_loss(
        lambda views: encoder(seen(views).reshape(views.shape)),
        IMAGES[:9],
        "crops",
        pairs=4,
        dtype=torch.float64,
        distance="l1",
        normalise=False,
    )
    views = torch.cat(seen.views).reshape(4, 2, 9, -1)
    weight = encoder[1].weight
    for pair in range(4):
        for i in range(9):
            gap = weight @ (views[pair, 0, i] - views[pair, 1, i])
            assert found.losses[i, pair].item() == pytest.approx(gap.abs().sum().item(), rel=1e-10)
    for i in range(9):
        row = found.losses[i]
        assert found.mean[i].item() == pytest.approx(sum(row.tolist()) / 4)
        deviation = math.sqrt(sum((v - row.mean()) ** 2 for v in row) / 3)
        assert found.standard_error[i].item() == pytest.approx(deviation / 2)


def test_against_the_original_compares_with_the_image_itself():
    seen = Recorder()
    found = alignment_loss(
        seen, IMAGES, "noise", pairs=2, against="original", normalise=False, dtype=torch.float64
    )
    # Noise of standard deviation 0.1 on 432 pixels; between two views it is sqrt(2) larger.
    expected = 0.1 * math.sqrt(432)
    assert found.mean.mean().item() == pytest.approx(expected, rel=0.02)
    assert torch.equal(seen.views[0][:64], IMAGES[:64].double() / 255)
    both = alignment_loss(seen, IMAGES, "noise", pairs=2, normalise=False, dtype=torch.float64)
    assert both.mean.mean().item() == pytest.approx(math.sqrt(2) * expected, rel=0.02)
    strong = alignment_loss(FLAT, IMAGES, "strong", against="original")
    assert strong.mean.min() > 0


def test_identity_augmentation_loses_nothing_exactly():
    f, g = linear(0, 432), linear(1, 432)
    options = {"noise": 0.0, "dtype": torch.float64, "pairs": 2}
    for distance in ("l2", "l1", "cosine", "angular", "sqeuclidean"):
        for form in ("raw", "ratio"):
            found = score_encoders(
                [f], [g], IMAGES, "noise", form=form, distance=distance, **options
            )
            assert not found.scores.any()
            assert not found.f_mean.any()


def test_under_a_linear_map_noise_tells_no_image_from_another():
    # f(x') - f(x'') = W (noise' - noise''): the same of an image of zeros, and of any pair f, g.
    torch.manual_seed(0)
    f = nn.Sequential(nn.Flatten(), nn.Linear(432, 5)).double()
    options = {"normalise": False, "distance": "sqeuclidean", "dtype": torch.float64}
    one, none = (
        alignment_loss(f, images, "noise", **options).losses
        for images in (IMAGES, torch.zeros_like(IMAGES))
    )
    torch.testing.assert_close(one, none, rtol=1e-10, atol=0)


def test_common_draws_save_variance():
    f, g = linear(0), linear(0)
    with torch.no_grad():
        g[1].weight += 0.1 * linear(1)[1].weight
    loss = {"kind": "crops", "dtype": torch.float64, "pairs": 10}
    first = alignment_loss(f, IMAGES, **loss).losses
    same, other = (alignment_loss(g, IMAGES, seed=seed, **loss).losses for seed in (0, 1))
    together, apart = ((second - first).var(dim=1).mean() for second in (same, other))
    assert together < 0.05 * apart


def test_the_variance_falls_with_the_number_of_pairs_and_the_mean_stays():
    loss = alignment_loss(linear(0), IMAGES, "crops", pairs=400, dtype=torch.float64)
    for pairs in (5, 20):
        means = loss.losses.reshape(70, -1, pairs).mean(dim=2)
        errors = loss.losses.reshape(70, -1, pairs).std(dim=2).square() / pairs
        # The variance of means of so many pairs, and what standard errors say, over 70 points.
        expected = loss.losses.var(dim=1) / pairs
        assert (means.var(dim=1) / expected).mean().item() == pytest.approx(1, abs=0.1)
        assert (errors.mean(dim=1) / expected).mean().item() == pytest.approx(1, abs=0.02)
    few = alignment_loss(linear(0), IMAGES, "crops", pairs=10, seed=1, dtype=torch.float64)
    z = (few.mean - loss.mean) / loss.losses.std(dim=1) / math.sqrt(1 / 10 + 1 / 400)
    assert abs(z.mean().item()) < 4 / math.sqrt(70)
    assert z.std().item() == pytest.approx(1, abs=4 / math.sqrt(140))


def test_angles_are_exact_where_arccos_of_a_cosine_is_not():
    angles = torch.logspace(-12, math.log10(3), 30, dtype=torch.float64)
    z = torch.stack([torch.cos(angles), torch.sin(angles)], dim=1)
    e = torch.tensor([[2.0, 0.0]], dtype=torch.float64).expand(30, 2)
    torch.testing.assert_close(distances(e, z, "angular"), angles, rtol=1e-12, atol=0)
    half = 2 * torch.sin(angles / 2) ** 2
    torch.testing.assert_close(distances(e, z, "cosine"), half, rtol=1e-12, atol=0)
    opposite = distances(e, -e, "angular")
    assert torch.equal(opposite, torch.full_like(opposite, math.pi))


def test_a_dead_row_is_at_a_right_angle_to_others_and_at_none_to_itself():
    z, dead = torch.ones(1, 3), torch.zeros(1, 3)
    assert distances(z, dead, "angular").item() == pytest.approx(math.pi / 2)
    assert distances(z, dead, "cosine").item() == 1
    assert [distances(dead, dead, name).item() for name in ("angular", "cosine")] == [0, 0]


def test_layers_and_encoders_share_their_views_and_are_left_as_they_were():
    f, g = (build_encoder("convnet", (3, 12, 12), 5, seed=seed).train() for seed in (0, 1))
    layers = ["layer1", "projector"]
    found = alignment_losses(representations([f, g], layers), IMAGES[:9], "weak", pairs=2)
    assert len(found) == 4
    for encoder, losses in ((f, found[:2]), (g, found[2:])):
        for layer, loss in zip(layers, losses, strict=True):
            alone = alignment_loss(encoder, IMAGES[:9], "weak", pairs=2, layer=layer)
            torch.testing.assert_close(loss.losses, alone.losses, rtol=1e-5, atol=1e-6)
    assert all(module.training for module in f.modules())
    # By itself an encoder is scored by its representation, not its embedding.
    whole = alignment_loss(f, IMAGES[:9], "weak", pairs=2)
    seen = Recorder()
    alignment_loss(seen, IMAGES[:9], "weak", pairs=2)
    z = features(f, torch.cat(seen.views), ["backbone"])["backbone"].reshape(2, 2, 9, -1)
    expected = distances(z[:, 0].flatten(0, 1).double(), z[:, 1].flatten(0, 1).double())
    torch.testing.assert_close(whole.losses.T.flatten(), expected, rtol=1e-5, atol=1e-6)


def test_modules_are_run_in_evaluation_mode_without_gradients():
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(243, 3)).train()
    first = alignment_loss(module, IMAGES, "crops", pairs=2).losses
    assert torch.equal(alignment_loss(module, IMAGES, "crops", pairs=2).losses, first)
    assert not first.requires_grad
    assert module[1].training


def test_one_pair_has_no_standard_error():
    found = alignment_loss(FLAT, IMAGES[:2], "crops", pairs=1)
    assert isinstance(found, AlignmentLoss)
    assert found.standard_error.isnan().all()
    assert torch.equal(found.mean, found.losses[:, 0])


def test_losses_in_a_list_keep_all_their_digits():
    assert check_losses("losses", [0.1, 1e300]).tolist() == [[0.1, 1e300]]


def test_families_of_encoders():
    f, g = [linear(0), linear(1)], [linear(2), linear(3), linear(4)]
    options = {"pairs": 3, "dtype": torch.float64}
    found = score_encoders(f, g, IMAGES, "crops", **options)
    f_losses, g_losses = (
        torch.stack([alignment_loss(e, IMAGES, "crops", **options).mean for e in family])
        for family in (f, g)
    )
    torch.testing.assert_close(found.scores, g_losses.mean(0) - f_losses.mean(0), rtol=1e-9, atol=0)
    error = (f_losses.var(0) / 2 + g_losses.var(0) / 3).sqrt()
    torch.testing.assert_close(found.standard_error, error, rtol=1e-6, atol=0)
    one = score_encoders(f[:1], g, IMAGES, "crops", **options)
    assert one.standard_error.isnan().all()


def test_the_error_of_a_ratio_is_its_spread_over_families():
    generator = torch.Generator().manual_seed(3)
    f = 1.0 + 0.05 * torch.randn(1000, 8, 1, generator=generator, dtype=torch.float64)
    g = 1.6 + 0.05 * torch.randn(1000, 8, 1, generator=generator, dtype=torch.float64)
    found = [ssl_mem(a, b, "ratio") for a, b in zip(f, g, strict=True)]
    spread = torch.stack([each.scores for each in found]).std().item()
    said = torch.stack([each.standard_error**2 for each in found]).mean().sqrt().item()
    # A standard deviation of 1,000 is known to 2.2 %; the linearisation errs by less.
    assert said == pytest.approx(spread, rel=0.1)


def test_swapped_encoders_are_noticed():
    generator = torch.Generator().manual_seed(0)
    scores = 0.1 * torch.randn(3, 40, generator=generator)
    candidates, independent = range(20), range(20, 40)
    assert not looks_swapped(scores, list(candidates), list(independent))
    scores[:, :20] += 0.3
    assert not looks_swapped(scores, list(candidates), list(independent))
    assert looks_swapped(-scores, list(candidates), list(independent))
    with pytest.raises(ValueError, match="1 candidates and 20 independent"):
        looks_swapped(scores, [0], list(independent))


def test_removal():
    scores = torch.tensor([0.2, 0.9, 0.2, 0.5, 0.2])
    for which in ("most", "least", "random"):
        assert remaining_points(scores, 0, which).tolist() == [0, 1, 2, 3, 4]
        assert remaining_points(scores, 5, which).tolist() == []
    assert rank_points(scores).tolist() == [1, 3, 0, 2, 4]
    assert remaining_points(scores, 3, "most").tolist() == [2, 4]
    assert remaining_points(scores, 2, "least").tolist() == [0, 1, 3]
    left = [set(remaining_points(scores, k, "random").tolist()) for k in range(6)]
    assert all(fewer < more for more, fewer in pairwise(left))
    draws = {tuple(remaining_points(scores, 2, "random", seed=seed).tolist()) for seed in range(9)}
    assert len(draws) > 2


BAD_LOSS = [
    ({"pairs": 0}, "pairs is 0; expected a whole number above zero"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"distance": "l3"}, "distance is 'l3'; expected one of l2"),
    ({"against": "both"}, "against is 'both'; expected 'view' or 'original'"),
    ({"against": "original"}, r"have shape \(3, 9, 9\); expected views of the size"),
    ({"seed": -1}, "seed is -1"),
    ({"kind": "zoom"}, "unknown views 'zoom'"),
    ({"images": IMAGES.float()}, "expected uint8"),
    ({"images": IMAGES[:0]}, "expected at least one image"),
    ({"numbers": torch.zeros(70, dtype=torch.int64)}, "negative or repeated"),
    ({"numbers": torch.arange(3)}, r"expected int64 of shape \(70,\)"),
    ({"encoder": lambda views: views}, r"network gives \(256, 3, 9, 9\) for inputs of"),
    (
        {"encoder": lambda views: {"z": views}},
        r"a dict with z \(256, 3, 9, 9\), one of which --out",
    ),
    ({"encoder": lambda views: (views, views)}, r"a tuple with 0 \(256, 3, 9, 9\), 1 \(256, 3"),
    ({"encoder": lambda views: views.flatten(1) * 1j}, "gives complex numbers"),
    ({"encoder": torch.nn.Linear(2, 2)}, r"does not take inputs of shape \(256, 3, 9"),
    ({"encoder": lambda views: views.flatten(1) / 0}, "NaN or infinite values"),
    ({"layer": "layer1"}, r"layers is \['layer1'\] for a Flatten; expected an Encoder"),
]


@pytest.mark.parametrize(("change", "message"), BAD_LOSS, ids=[str(m) for _, m in BAD_LOSS])
def test_alignment_loss_refuses(change, message):
    with pytest.raises(ValueError, match=message) as error:
        alignment_loss(**{"encoder": FLAT, "images": IMAGES, "kind": "crops", **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("f", "g", "form", "message"),
    [
        ([1.0, 2.0], [1.0], "raw", "f_losses holds 2 points and g_losses 1"),
        ([1.0, math.nan], [1.0, 1.0], "raw", "f_losses holds NaN"),
        ([1.0, 1.0], [1.0, math.inf], "raw", "g_losses holds NaN or infinite"),
        ([1.0, -1.0], [1.0, 1.0], "raw", "f_losses holds -1; expected distances"),
        ([], [], "raw", r"f_losses has shape \(0,\)"),
        (1.0, 1.0, "raw", r"f_losses has shape \(\)"),
        ([1.0], [1.0], "share", "form is 'share'; expected one of raw, ratio"),
    ],
)
def test_scores_refuse(f, g, form, message):
    with pytest.raises(ValueError, match=message):
        ssl_mem(f, g, form)


def test_encoders_of_different_architectures_are_refused():
    f = build_encoder("convnet", (3, 12, 12), 5, seed=0)
    for other in (
        build_encoder("convnet", (3, 12, 12), 6, seed=0),
        build_encoder("mlp", (3, 12, 12), 5, seed=0),
        build_encoder("convnet", (3, 12, 12), 5, seed=0, widths=(32, 64, 100)),
    ):
        with pytest.raises(ValueError, match=r"g\[1\] and f\[0\] are of different architectures"):
            score_encoders([f], [f, other], IMAGES, "weak")
    with pytest.raises(ValueError, match="0 encoders f and 1 g"):
        score_encoders([], [f], IMAGES, "weak")
    with pytest.raises(ValueError, match="no encoders"):
        representations([])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: remaining_points([1.0, 2.0], 3), "k is 3; expected a whole number from 0 to 2"),
        (lambda: remaining_points([1.0, 2.0], 1, "some"), "which is 'some'"),
        (lambda: rank_points([]), "expected \\(n,\\) with n above zero"),
        (lambda: rank_points([1.0, math.nan]), "NaN or infinite"),
    ],
)
def test_ranking_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.machine
@pytest.mark.parametrize("kind", ["weak", "strong", "noise"])
@pytest.mark.parametrize("batch_size", [1, 50, 64, 200, 1000])
def test_views_come_in_batches_and_do_not_depend_on_them(kind, batch_size):
    rows = torch.tensor([5, 63, 0, 17])
    batches = list(view_batches(IMAGES[rows], rows, kind, 51, seed=3, batch_size=batch_size))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    views = torch.cat(batches).unflatten(0, (51, 4))
    generator = derived_generator(3, 12, 0)
    for number, view in enumerate(views):
        whole = draw_view(IMAGES[:64], kind, generator, which=number % 2)
        assert torch.equal(view, whole[rows])


def test_an_encoder_of_bfloat16_is_scored_as_it_computes():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 12 * 12, 5))
    small = alignment_loss(network.bfloat16(), IMAGES, "noise")
    assert small.losses.dtype == torch.float64
    full = alignment_loss(network.float(), IMAGES, "noise")
    torch.testing.assert_close(small.mean, full.mean, rtol=0.1, atol=0.02)
