"""Views by a function of the user's are pure functions of the images and a generator."""

import random
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from sslsim.core.torchvision import torchvision
from sslsim.data.datasets import Images, load_images
from sslsim.data.own_views import own_view_shape, view_name
from sslsim.data.views import crop_to_input, draw_view, draw_views, fed_shape
from sslsim.training.batches import training_batches
from sslsim.training.options import TrainingOptions

IMAGES = torch.randint(
    256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def generator():
    return torch.Generator().manual_seed(0)


def compose(*parts):
    v2 = import_module("torchvision.transforms.v2")
    return v2.Compose([v2.RandomResizedCrop(8, antialias=True), *parts])


def noisy(image):
    """Draws of all three generators."""
    draws = torch.rand(image.shape) + np.random.rand() + random.random()  # noqa: NPY002
    return image.float() / 255 + draws


def batch_noise(images, generator):
    x = images.float() / 255
    return x + torch.randn(x.shape, generator=generator)


def picture(image):
    """What takes pictures only gets one."""
    return torchvision.transforms.ToTensor()(image)


def array(image):
    return np.asarray(image.permute(1, 2, 0).numpy()[:6, :6])


class Pair:
    """Two views at once, made of a class that is called without arguments."""

    def __call__(self, image):  # noqa: D102
        return [image.float() / 255, image.flip(2).float() / 255]


FUNCTIONS = [compose(), noisy, batch_noise, picture, array, Pair()]


@pytest.mark.parametrize("kind", FUNCTIONS, ids=range(6))
def test_views_depend_on_the_generator_alone_and_rows_are_those_of_the_batch(kind):
    torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state()
    whole = draw_views(IMAGES, kind, generator())
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    again = draw_views(IMAGES, kind, generator(), rows=slice(2, 4))
    for views, part in zip(whole.views, again.views, strict=True):
        assert views.dtype == torch.float32
        assert torch.equal(views[2:4], part)
        assert tuple(views.shape[1:]) == own_view_shape(kind, (3, 8, 8))
    assert whole.boxes is None


def test_images_are_drawn_apart_unless_the_function_takes_a_batch():
    same = IMAGES[:1].expand(6, -1, -1, -1)
    views = draw_view(same, noisy, generator())
    assert len(views.flatten(1).unique(dim=0)) == 6
    assert torch.equal(views, draw_view(same, noisy, generator()))
    assert not torch.equal(views, draw_view(same, noisy, torch.Generator().manual_seed(1)))


def test_bytes_become_numbers_from_0_to_1_and_floats_stay():
    assert torch.equal(draw_view(IMAGES, nn.Identity(), generator()), IMAGES.float() / 255)
    pair = draw_views(IMAGES, Pair(), generator())
    assert torch.equal(pair.views[0], IMAGES.float() / 255)
    assert torch.equal(pair.views[1], pair.views[0].flip(3))
    corners = draw_view(IMAGES, array, generator())
    assert torch.equal(corners, IMAGES[:, :, :6, :6].float() / 255)
    double = draw_view(IMAGES, noisy, generator(), dtype=torch.float64)
    assert double.dtype == torch.float64
    with pytest.warns(UserWarning, match="hold numbers up to .*; expected floats from 0 to 1"):
        draw_view(IMAGES, lambda image: image.float(), generator())


def test_plain_images_are_resized_to_what_the_network_is_fed_with():
    data = load_images(limit=20)

    def larger(image):
        return nn.functional.interpolate(image[None].float(), (12, 10))[0].expand(3, -1, -1) / 255

    assert fed_shape(data, larger) == (3, 12, 10)
    plain = crop_to_input(data, larger).images
    assert (tuple(plain.shape), plain.dtype) == ((20, 3, 12, 10), torch.uint8)
    colour = Images(IMAGES, None, "colour")
    with pytest.raises(ValueError, match="views have 1 channels and images 3"):
        crop_to_input(colour, lambda image: image[:1])


def test_training_batches_take_a_function():
    data = Images(IMAGES, None, "some")
    batch = training_batches(data, noisy, TrainingOptions(batch=4), torch.device("cpu"))
    views, _ = batch(0)
    assert all(torch.equal(a, b) for a, b in zip(views.views, batch(0)[0].views, strict=True))
    assert view_name(noisy).endswith(":noisy")
    assert view_name(compose()).endswith(":Compose")


def grows(image):
    return image[:, : 3 + int(image[0, 0, 0] % 4)]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nowhere_at_all:x", "there is no module named 'nowhere_at_all'"),
        ("math:nope", "math has no 'nope'"),
        (lambda image: {}["no"], "cannot be drawn of an image of shape .3, 8, 8.: KeyError: 'no'"),
        (lambda image: image[0], r"it returns \(8, 8\); expected \(c, h, w\)"),
        (lambda image: None, r"it returns NoneType; expected \(c, h, w\)"),
        (lambda image: [image], r"it returns 1 view\(s\) in a list"),
        (lambda images, generator: images[0], r"expected \(n, c, h, w\)"),
        (grows, "cannot be drawn"),
    ],
)
def test_functions_that_give_no_views_are_refused_in_one_line(kind, message):
    with pytest.raises(ValueError, match=message) as caught:
        draw_view(IMAGES, kind, generator())
    assert "\n" not in str(caught.value)
