"""Views as pure functions, and streams of pairs that come out the same every time."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from sslsim.data.pairs import draw_pairs
from sslsim.data.single_view import RECIPES
from sslsim.data.views import VIEWS, draw_view, view_shape


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(n=20, channels=3, height=16, width=16, seed=3):
    return torch.randint(
        0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator(seed)
    )


def place_images(n, edge):
    """Every pixel holds its own place, so that a crop tells where it was taken."""
    return torch.arange(edge * edge, dtype=torch.uint8).reshape(1, 1, edge, edge).repeat(n, 1, 1, 1)


def test_every_kind_of_views_has_its_recipe():
    assert set(VIEWS) == {"crops", "noise", *RECIPES}


@pytest.mark.machine
@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_generator_state_gives_the_same_bits(kind, channels):
    images = random_images(channels=channels)
    before = images.clone()
    one = draw_view(images, kind, generator())
    state = generator()
    assert torch.equal(one, draw_view(images, kind, state))
    assert not torch.equal(one, draw_view(images, kind, state))
    assert torch.equal(images, before)
    assert one.dtype == torch.float32
    assert one.shape[1:] == view_shape(kind, images.shape[1:])


@pytest.mark.parametrize("kind", VIEWS)
def test_the_dtype_does_not_change_the_draws(kind):
    images = random_images()
    single = draw_view(images, kind, generator())
    double = draw_view(images, kind, generator(), dtype=torch.float64)
    assert double.dtype == torch.float64
    assert (single - double).abs().max() < 1e-4


@pytest.mark.machine
@pytest.mark.parametrize("kind", VIEWS)
def test_a_sample_depends_on_its_place_and_on_no_other_image(kind):
    images = random_images()
    others = random_images(seed=4)
    others[5] = images[5]
    one, other = (draw_view(i, kind, generator()) for i in (images, others))
    assert torch.equal(one[5], other[5])
    assert not torch.equal(one[4], other[4])


@pytest.mark.parametrize("kind", VIEWS)
def test_samples_of_one_image_have_draws_of_their_own(kind):
    images = random_images(1).repeat(20, 1, 1, 1)
    views = draw_view(images, kind, generator())
    assert len(torch.unique(views.flatten(1), dim=0)) > (10 if kind == "crops" else 19)


def test_noise_is_normal_of_the_given_size():
    images = random_images(40, 3, 32, 32)
    found = draw_view(images, "noise", generator(), noise=0.3, dtype=torch.float64)
    normal = ((found - images.double() / 255) / 0.3).flatten()
    n = len(normal)
    assert abs(normal.mean()) < 4 / n**0.5
    assert abs(normal.square().mean() - 1) < 4 * (2 / n) ** 0.5
    assert abs(normal.pow(4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert torch.equal(
        draw_view(images, "noise", generator(), noise=0.0), images.to(torch.float32) / 255
    )


def test_the_default_noise_is_a_tenth():
    images = random_images()
    assert torch.equal(
        draw_view(images, "noise", generator()), draw_view(images, "noise", generator(), noise=0.1)
    )


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20), (15, 9)])
def test_a_crop_is_a_window_of_its_image_or_its_mirror(height, width):
    images = random_images(30, 3, height, width)
    crops = draw_view(images, "crops", generator())
    edge = 3 * min(height, width) // 4
    assert crops.shape == (30, 3, edge, edge)
    for image, crop in zip(images, crops, strict=True):
        windows = (image.float() / 255).unfold(1, edge, 1).unfold(2, edge, 1)  # (c, i, j, e, e)
        windows = windows.permute(1, 2, 0, 3, 4).flatten(0, 1)
        candidates = torch.cat([windows, windows.flip(-1)])
        assert (candidates == crop).flatten(1).all(dim=1).sum() == 1


def test_crops_have_uniform_places_and_half_are_mirrored():
    n, edge = 8000, 12
    crops = (draw_view(place_images(n, edge), "crops", generator()) * 255).round().long()
    mirrored = crops[:, 0, 0, 0] > crops[:, 0, 0, -1]
    corner = torch.where(mirrored, crops[:, 0, 0, -1], crops[:, 0, 0, 0])
    cells = 8 * (corner // edge) + 2 * (corner % edge) + mirrored
    counts = np.bincount(cells.numpy(), minlength=32)
    assert len(counts) == 32  # 4 x 4 places, mirrored or not
    assert chisquare(counts).pvalue > 0.01


def test_simclr_views_stay_in_range():
    views = draw_view(random_images(200), "simclr", generator())
    assert views.min() >= 0
    assert views.max() <= 1


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stream_gives_the_same_bits_at_every_iteration(kind, dtype):
    stream = draw_pairs(
        random_images(), kind, 33, views_per_image=4, seed=5, dtype=dtype, chunk_bytes=50_000
    )
    one, two = list(stream), list(stream)
    assert len(one) > 2
    for first, second in zip(one, two, strict=True):
        for a, b in zip(first, second, strict=True):
            assert a.dtype == str(dtype).split(".")[1]
            assert np.array_equal(a, b)
    next(iter(stream))  # an iteration broken off leaves nothing behind
    x, x_prime = stream.arrays()
    assert x.dtype == x_prime.dtype == np.float64
    assert x.shape == (33, stream.dim) == (stream.n_pairs, x_prime.shape[1])
    assert np.array_equal(x, np.concatenate([a for a, _ in one]))
    assert np.array_equal(x_prime, np.concatenate([b for _, b in one]))
    assert len(np.unique(np.concatenate([x, x_prime]), axis=0)) > 50


def test_groups_name_the_image_of_every_pair():
    images = random_images(30)
    stream = draw_pairs(
        images, "noise", 23, views_per_image=6, noise=0.0, chunk_bytes=100_000, seed=1
    )
    rows = images.flatten(1).double().numpy()[stream.groups] / 255
    for array in stream.arrays():
        assert np.array_equal(array, rows)
    kept, counts = np.unique(stream.groups, return_counts=True)
    assert len(kept) == 8  # ceil(23 / 3), none twice
    assert sorted(counts) == [2] + [3] * 7
    assert np.count_nonzero(np.diff(stream.groups)) == 7


def test_the_two_views_of_a_pair_are_drawn_apart():
    images = random_images(200)
    x, x_prime = draw_pairs(images, "noise", 200, noise=0.5).arrays()
    clean = images.flatten(1).double().numpy()[draw_pairs(images, "noise", 200).groups] / 255
    together = np.corrcoef((x - clean).ravel(), (x_prime - clean).ravel())[0, 1]
    assert abs(together) < 4 / x.size**0.5


def test_chunks_have_generators_of_their_own():
    images = random_images(1).repeat(40, 1, 1, 1)
    row = 2 * 8 * 3 * 16 * 16
    chunks = list(draw_pairs(images, "noise", 40, chunk_bytes=10 * row))
    assert [len(x) for x, _ in chunks] == [10] * 4
    assert len(np.unique(np.concatenate([x for x, _ in chunks]), axis=0)) == 40


def test_a_chunk_holds_an_image_at_least_and_keeps_to_its_bytes():
    images = random_images()
    assert [len(x) for x, _ in draw_pairs(images, "crops", 5, chunk_bytes=1)] == [1] * 5
    row = 2 * 8 * 3 * 12 * 12
    sizes = [
        len(x) for x, _ in draw_pairs(images, "crops", 30, views_per_image=4, chunk_bytes=7 * row)
    ]
    assert sizes == [6] * 5


def test_seeds_choose_images_and_views():
    images = random_images()
    one, two = (draw_pairs(images, "crops", 10, seed=s) for s in (0, 1))
    assert not np.array_equal(one.groups, two.groups)
    still = random_images(1).repeat(20, 1, 1, 1)
    x, y = (draw_pairs(still, "crops", 10, seed=s).arrays()[0] for s in (0, 1))
    assert not np.array_equal(x, y)


def test_too_few_images_tell_how_many_views_would_do():
    with pytest.raises(
        ValueError, match=r"50 pairs .* 20 images, which give 20 at 2 views .* raised to 6"
    ):
        draw_pairs(random_images(), "crops", 50)
    assert draw_pairs(random_images(), "crops", 50, views_per_image=6).n_pairs == 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "crop"}, "unknown views 'crop'; expected one of crops, noise, simclr"),
        ({"views_per_image": 3}, "views_per_image is 3"),
        ({"views_per_image": 0}, "views_per_image is 0"),
        ({"pairs": 1}, "pairs is 1"),
        ({"seed": -1}, "seed -1"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"dtype": torch.float16}, "dtype is torch.float16"),
        ({"images": torch.zeros(20, 3, 8, 8)}, "images is torch.float32"),
        ({"images": torch.zeros(20, 8, 8, dtype=torch.uint8)}, r"\(20, 8, 8\)|\(1, 8, 8\)"),
        ({"images": torch.zeros(20, 4, 8, 8, dtype=torch.uint8)}, "c of 1 or 3"),
        ({"images": torch.zeros(20, 1, 1, 8, dtype=torch.uint8)}, "images are 1 x 8"),
        ({"images": torch.zeros(0, 1, 8, 8, dtype=torch.uint8)}, "0 images"),
    ],
)
def test_bad_input(change, message):
    good = {"images": random_images(), "kind": "crops", "pairs": 5}
    with pytest.raises(ValueError, match=message):
        draw_pairs(**{**good, **change})
