"""SimCLR's augmentation: its draws, its identity and its distance from torchvision."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from sslsim import augment
from sslsim.augment import colour_jitter, crop_boxes, resized_crop, simclr_view
from sslsim.vision import torchvision

functional = torchvision.transforms.functional


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_images(n=8, size=24, channels=3):
    noise = torch.rand(n, channels, size // 4, size // 4, generator=generator(7))
    return torch.nn.functional.interpolate(noise, size=size, mode="bicubic").clamp(0, 1)


def jitter(images, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, grey=False):
    factors = (torch.full((len(images),), v) for v in (brightness, contrast, saturation, hue))
    return colour_jitter(images, *factors, torch.full((len(images),), grey))


def test_boxes_are_distributed_as_in_random_resized_crop():
    n, height, width = 20_000, 32, 48
    top, left, tall, wide = crop_boxes(n, height, width, generator()).double().T.numpy()
    # The same law drawn by rejection, with numpy.
    rng = np.random.default_rng(1)
    area = height * width * rng.uniform(0.2, 1.0, 4 * n)
    ratio = np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), 4 * n))
    h, w = np.sqrt(area / ratio), np.sqrt(area * ratio)
    fits = (h <= height) & (w <= width)
    assert kstest(tall * wide, (h * w)[fits]).pvalue > 0.01
    assert kstest(wide / tall, (w / h)[fits]).pvalue > 0.01
    cut = tall < height  # all but one in ten thousand, which no box fitted
    assert cut.mean() > 0.999
    assert kstest((top / (height - tall).clip(1e-9))[cut], "uniform").pvalue > 0.01
    assert kstest((left / (width - wide).clip(1e-9))[cut], "uniform").pvalue > 0.01
    assert (
        abs(np.corrcoef(top[cut] / (height - tall[cut]), left[cut] / (width - wide[cut]))[0, 1])
        < 0.03
    )
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + tall <= height + 1e-5).all()
    assert (left + wide <= width + 1e-5).all()


def test_an_image_no_box_fits_is_taken_whole():
    boxes = crop_boxes(50, 1, 1000, generator())
    assert boxes.tolist() == [[0, 0, 1, 1000]] * 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_whole_box_returns_the_image(dtype):
    images = torch.rand(3, 3, 11, 7, generator=generator(), dtype=dtype)
    whole = torch.tensor([[0.0, 0.0, 11.0, 7.0]] * 3, dtype=dtype)
    flip = torch.tensor([False, True, False])
    found = resized_crop(images, whole, flip)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    assert (found[[0, 2]] - images[[0, 2]]).abs().max() < tolerance
    assert (found[1] - images[1].flip(-1)).abs().max() < tolerance


def test_a_box_is_stretched_as_torchvision_stretches_it():
    images = smooth_images()
    boxes = torch.tensor([[3.0, 5.0, 12.0, 10.0]] * len(images))
    found = resized_crop(images, boxes, torch.zeros(len(images), dtype=torch.bool))
    expected = functional.resized_crop(images, 3, 5, 12, 10, [24, 24], antialias=False)
    # Beyond the outermost pixel centres of the box one looks outside it, the other repeats them.
    assert (found - expected)[:, :, 2:-2, 2:-2].abs().max() < 1e-5


def test_no_change_reproduces_the_image():
    for channels in (1, 3):
        images = torch.rand(4, channels, 5, 5, generator=generator(), dtype=torch.float64)
        one, zero = torch.ones(4).double(), torch.zeros(4).double()
        found = colour_jitter(images, one, one, one, zero, zero > 0)
        assert (found - images).abs().max() < 1e-12


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.4])
@pytest.mark.parametrize(
    ("name", "adjust"),
    [
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ],
)
def test_one_change_is_torchvision_s(name, adjust, factor):
    images = smooth_images()
    found = jitter(images, **{name: factor})
    # torchvision's weights of grey are those of here to 1e-4.
    assert (found - adjust(images, factor)).abs().max() < 3e-4


@pytest.mark.parametrize("turn", [-0.1, -0.03, 0.05, 0.1])
def test_hue_is_torchvision_s_to_within_the_documented_approximation(turn):
    images = smooth_images()
    change = jitter(images, hue=turn) - images
    exact = functional.adjust_hue(images, turn) - images
    assert (change * exact).sum() > 0.8 * change.norm() * exact.norm()
    assert (change - exact).abs().mean() < 0.8 * abs(turn)
    assert (change - exact).abs().max() < 3.2 * abs(turn)


@pytest.mark.parametrize("turn", [-1 / 3, 1 / 3])
def test_hue_is_torchvision_s_at_a_third_of_a_turn(turn):
    images = smooth_images()
    assert (jitter(images, hue=turn) - functional.adjust_hue(images, turn)).abs().max() < 1e-5


def test_all_changes_together_are_torchvision_s_chain_in_the_same_order():
    images = 0.3 + 0.3 * smooth_images()  # nothing to clamp
    expected = functional.adjust_saturation(
        functional.adjust_contrast(functional.adjust_brightness(images, 1.2), 0.7), 1.3
    )
    expected = functional.adjust_hue(expected, 1 / 3)
    assert (jitter(images, 1.2, 0.7, 1.3, 1 / 3) - expected).abs().max() < 1e-3
    grey = functional.rgb_to_grayscale(expected, 3)
    assert (jitter(images, 1.2, 0.7, 1.3, 1 / 3, grey=True) - grey).abs().max() < 1e-3


def test_hue_keeps_grey_and_the_mean_of_the_channels():
    images = smooth_images().double() * 0.3 + 0.35
    one = torch.ones(len(images)).double()
    turned = colour_jitter(images, one, one, one, 0.1 * one, one < 0)
    assert (turned - images).mean(1).abs().max() < 1e-12
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert (colour_jitter(grey, one, one, one, 0.1 * one, one < 0) - grey).abs().max() < 1e-12
    back = colour_jitter(turned, one, one, one, -0.1 * one, one < 0)
    assert (back - images).abs().max() < 1e-12


def test_grey_images_have_brightness_and_contrast_only():
    images = smooth_images(channels=1)
    found = jitter(images, 0.8, 1.3, 0.5, 0.1, grey=True)
    colour = jitter(images.expand(-1, 3, -1, -1), 0.8, 1.3)
    assert (found - colour[:, :1]).abs().max() < 1e-6


def test_values_are_clamped():
    images = smooth_images()
    assert jitter(images, brightness=3.0).max() == 1
    assert jitter(images, contrast=3.0).min() == 0


def test_the_shares_and_ranges_of_the_draws(monkeypatch):
    seen = {}

    def crop(images, boxes, flip):
        seen["flip"] = flip
        return images

    def jitter(images, *factors):
        seen["factors"] = factors
        return images

    monkeypatch.setattr(augment, "resized_crop", crop)
    monkeypatch.setattr(augment, "colour_jitter", jitter)
    n = 20_000
    simclr_view(torch.zeros(n, 3, 1, 1), generator())
    *factors, hue, grey = seen["factors"]
    five = 5 / math.sqrt(n)  # ten standard deviations of a share at most
    assert abs(seen["flip"].double().mean() - 0.5) < five
    assert abs(grey.double().mean() - 0.2) < five
    for name, change, reach in zip(
        ("brightness", "contrast", "saturation", "hue"),
        [*(f - 1 for f in factors), hue],
        (0.4, 0.4, 0.4, 0.1),
        strict=True,
    ):
        changed = change != 0
        assert abs(changed.double().mean() - 0.8) < five, name
        law = (change[changed].double().numpy() / reach + 1) / 2
        assert kstest(law, "uniform").pvalue > 0.01, name
    jittered = torch.stack([*(f != 1 for f in factors), hue != 0])
    assert (jittered == jittered[0]).all(0).double().mean() > 0.999  # all four or none
    draws = torch.stack([seen["flip"], grey, *factors, hue]).double()
    correlation = torch.corrcoef(draws) - torch.eye(6)
    assert correlation.abs().max() < five
