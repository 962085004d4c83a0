"""Views for training: how many, where they lie, and which view of a pair is which."""

import math

import pytest
import torch
from scipy.stats import kstest

from sslsim.data.augmentation import STRONG, Recipe
from sslsim.data.geometric import resized_crop
from sslsim.data.pairs import draw_pairs
from sslsim.data.single_view import recipe_view
from sslsim.data.views import TRAINING_VIEWS, VIEWS, draw_view, draw_views


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(n=6, channels=3, height=36, width=40):
    shape = (n, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(3))


@pytest.mark.parametrize("kind", VIEWS)
def test_a_pair_is_its_two_views_drawn_one_after_another(kind):
    images, state = random_images(), generator()
    found = draw_views(images, kind, generator()).views
    assert len(found) == (1 if kind == "mask" else 2)
    for i, view in enumerate(found):
        assert torch.equal(view, draw_view(images, kind, state, which=i))


def test_only_the_second_strong_view_is_solarised_and_only_the_first_always_blurred():
    images = random_images()
    for which in (0, 1):
        view = draw_view(images, "strong", generator(), which=which)
        assert torch.equal(view, recipe_view(images, STRONG[which], generator())[0])
    assert (STRONG[0].blur_share, STRONG[0].solarise_share) == (1.0, 0.0)
    assert (STRONG[1].blur_share, STRONG[1].solarise_share) == (0.1, 0.2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(17, 23), (8, 8), (36, 33), (2, 3)])
@pytest.mark.parametrize("kind", TRAINING_VIEWS)
def test_odd_and_tiny_images_have_views_in_range(kind, height, width, channels):
    images = random_images(5, channels, height, width)
    found = draw_views(images, kind, generator(), noise=0.0, local_views=3)
    for i, view in enumerate(found.views):
        assert view.min() >= 0
        assert view.max() <= 1
        whole = (round(height * 3 / 7), round(width * 3 / 7)) if i > 1 else (height, width)
        assert view.shape[:2] == (5, channels)
        assert kind == "crops" or view.shape[2:] == whole


@pytest.mark.parametrize("kind", ["crops", "weak", "mask"])
def test_a_box_tells_where_its_view_was_taken(kind):
    images = random_images()
    found = draw_views(images, kind, generator(), dtype=torch.float64)
    for i, view in enumerate(found.views):
        boxes = found.boxes[:, i]
        again = resized_crop(
            images.double() / 255,
            boxes[:, :4].double(),
            boxes[:, 4] == 1,
            size=(view.shape[2], view.shape[3]),
        )
        assert (again - view).abs().max() < 1e-10


def test_views_of_multicrop_find_a_point_of_the_image_by_their_boxes():
    """Pixels that hold their own place: the place found through the box is the one in the pixel."""
    n, edge = 4, 64
    across = torch.arange(edge, dtype=torch.uint8).expand(n, 1, edge, edge).contiguous()
    recipe = Recipe(area=(0.05, 0.4))
    view, boxes = recipe_view(across, recipe, generator(), size=(20, 24), dtype=torch.float64)
    _, left, _, wide, flip = boxes.double()[:, :, None].unbind(1)
    share = (torch.arange(24) + 0.5) / 24
    expected = left + torch.where(flip == 1, 1 - share, share) * wide - 0.5
    expected = expected.clamp(0, edge - 1)
    assert (255 * view[:, 0] - expected[:, None]).abs().max() < 1e-4


def test_multicrop_has_two_large_and_many_small_crops():
    n, split = 3000, 0.25
    images = random_images(1, 1, 14, 14).expand(n, 1, 14, 14)
    found = draw_views(
        images, "multicrop", generator(), local_views=2, local_size=(3, 4), split=split
    )
    assert [view.shape[2:] for view in found.views] == [(14, 14)] * 2 + [(3, 4)] * 2
    assert found.boxes.shape == (n, 4, 5)
    top, left, tall, wide, flip = found.boxes.double().unbind(2)
    assert (top + tall).max() <= 14 + 1e-5
    assert (left + wide).max() <= 14 + 1e-5
    area = tall * wide / 14**2
    assert area[:, :2].min() > split - 1e-6
    assert area[:, 2:].max() < split + 1e-6
    assert area[:, 2:].min() > 0.05 - 1e-6
    for i in (2, 3):  # a box of a quarter of the image always fits
        law = (area[:, i] - 0.05) / (split - 0.05)
        assert kstest(law.numpy(), "uniform").pvalue > 0.01
    assert (flip.mean(dim=0) - 0.5).abs().max() < 5 / math.sqrt(n)


def test_other_rows_are_not_computed(monkeypatch):
    from sslsim.data import single_view

    seen = []
    real = single_view.change_images
    monkeypatch.setattr(
        single_view,
        "change_images",
        lambda images, *a, **k: seen.append(len(images)) or real(images, *a, **k),
    )
    draw_views(random_images(), "multicrop", generator(), rows=slice(2, 4), local_views=1)
    assert seen == [2, 2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "crop"}, "unknown views 'crop'; expected one of crops, .*, multicrop"),
        ({"local_views": -1}, "local_views is -1"),
        ({"local_size": (0, 3)}, r"local_size \(0, 3\)"),
        ({"split": 0.05}, "split is 0.05"),
        ({"split": float("nan")}, "split is nan"),
        ({"images": torch.zeros(2, 3, 8, 8)}, "images is torch.float32"),
        ({"kind": "noise", "noise": -1.0}, "noise is -1.0"),
    ],
)
def test_bad_input(change, message):
    good = {"images": random_images(), "kind": "multicrop"}
    options = {**good, **change}
    with pytest.raises(ValueError, match=message):
        draw_views(options.pop("images"), options.pop("kind"), generator(), **options)


def test_an_unknown_view_of_a_pair_is_refused():
    with pytest.raises(ValueError, match="which is 2; expected 0 or 1"):
        draw_view(random_images(), "strong", generator(), which=2)


def test_the_second_of_a_stream_is_the_second_strong_view():
    """Solarised pixels are at most 1/2: of the white images, one in five second views are dark."""
    images = torch.full((400, 1, 8, 8), 255, dtype=torch.uint8)
    first, second = draw_pairs(images, "strong", 400).arrays()
    assert (first.max(axis=1) > 0.5).all()
    assert 0.1 < (second.max(axis=1) < 0.5).mean() < 0.3
