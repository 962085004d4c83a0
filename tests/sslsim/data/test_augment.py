"""Augmentation in batches: its draws, its identity and its distance from torchvision."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest
from torch.utils._python_dispatch import TorchDispatchMode

from sslsim.core.torchvision import torchvision
from sslsim.data import augmentation as augment
from sslsim.data.augmentation import Changes, change_images, draw_changes, take_rows
from sslsim.data.geometric import crop_boxes, resized_crop
from sslsim.data.photometric import (
    blur_edge,
    colour_factors,
    colour_jitter,
    gaussian_blur,
    gaussian_kernels,
    solarise,
)

functional = torchvision.transforms.functional


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_images(n=8, size=24, channels=3):
    noise = torch.rand(n, channels, size // 4, size // 4, generator=generator(7))
    return torch.nn.functional.interpolate(noise, size=size, mode="bicubic").clamp(0, 1)


def jitter(images, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, grey=False):
    factors = (torch.full((len(images),), v) for v in (brightness, contrast, saturation, hue))
    return colour_jitter(images, colour_factors(*factors), torch.full((len(images),), grey))


def blur(images, sigma, edge):
    return gaussian_blur(images, gaussian_kernels(sigma, edge))


def hue_and_sigma(changes):
    """The turns of hue and the widths of the blur as drawn: both can be read from the changes."""
    hue = torch.atan2(changes.factors[:, 4], changes.factors[:, 3]) / (2 * math.pi)
    centre, beside = changes.kernels.T[:2]
    return hue, torch.where(beside > 0, (-0.5 / (beside / centre).log()).sqrt(), 0.0)


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
        found = colour_jitter(images, colour_factors(one, one, one, zero), zero > 0)
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
    turn, back = (colour_factors(one, one, one, hue * one) for hue in (0.1, -0.1))
    turned = colour_jitter(images, turn, one < 0)
    assert (turned - images).mean(1).abs().max() < 1e-12
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert (colour_jitter(grey, turn, one < 0) - grey).abs().max() < 1e-12
    assert (colour_jitter(turned, back, one < 0) - images).abs().max() < 1e-12


def test_grey_images_have_brightness_and_contrast_only():
    images = smooth_images(channels=1)
    found = jitter(images, 0.8, 1.3, 0.5, 0.1, grey=True)
    colour = jitter(images.expand(-1, 3, -1, -1), 0.8, 1.3)
    assert (found - colour[:, :1]).abs().max() < 1e-6


def test_values_are_clamped():
    images = smooth_images()
    assert jitter(images, brightness=3.0).max() == 1
    assert jitter(images, contrast=3.0).min() == 0


@pytest.mark.parametrize(
    ("recipe", "reach"),
    [
        (augment.SIMCLR, (0.4, 0.4, 0.4, 0.1)),
        (augment.STRONG[0], (0.4, 0.4, 0.2, 0.1)),
        (augment.STRONG[1], (0.4, 0.4, 0.2, 0.1)),
    ],
)
def test_the_shares_and_ranges_of_the_draws(recipe, reach):
    n = 20_000
    changes = draw_changes(n, 32, 32, recipe, generator())
    five = 5 / math.sqrt(n)  # ten standard deviations of a share at most
    assert abs(changes.flip.double().mean() - 0.5) < five
    assert abs(changes.grey.double().mean() - 0.2) < five
    hue, sigma = hue_and_sigma(changes)
    strength = torch.column_stack([changes.factors[:, :3] - 1, hue])
    for name, change, j in zip(
        ("brightness", "contrast", "saturation", "hue"), strength.T, reach, strict=True
    ):
        changed = change != 0
        assert abs(changed.double().mean() - 0.8) < five, name
        law = (change[changed].numpy() / j + 1) / 2
        assert kstest(law, "uniform").pvalue > 0.01, name
    jittered = strength != 0
    assert (jittered == jittered[:, :1]).all(1).double().mean() > 0.999  # all four or none
    blurred = sigma > 0
    assert abs(blurred.double().mean() - recipe.blur_share) < five
    assert kstest(sigma[blurred].numpy(), "uniform", args=(0.1, 1.9)).pvalue > 0.01
    draws = [changes.flip, changes.grey, *strength.T, sigma]
    if recipe.solarise_share:
        assert abs(changes.solarised.double().mean() - 0.2) < five
        draws.append(changes.solarised)
    else:
        assert changes.solarised is None
    correlation = torch.corrcoef(torch.stack([d.double() for d in draws]))
    assert (correlation - torch.eye(len(draws))).abs().max() < five


def test_views_below_32_pixels_are_not_blurred():
    for size, blurred in ((None, False), ((32, 40), True), ((31, 40), False)):
        changes = draw_changes(5, 8, 8, augment.STRONG[0], generator(), size=size)
        assert (changes.kernels is not None) == blurred
    assert draw_changes(5, 8, 8, augment.WEAK, generator()).factors is None


def test_draws_follow_the_laws_of_torchvision_s_transforms():
    transforms = torchvision.transforms
    n, edge = 4000, 2000  # large images: torchvision rounds its boxes to pixels
    chance = 0.01 / 11  # of one of the eleven comparisons below
    torch.manual_seed(5)
    image = torch.empty(3, edge, edge, device="meta")
    jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
    ours = draw_changes(n, edge, edge, augment.SIMCLR, generator(8))
    boxes, factors = [], []
    for _ in range(n):
        boxes.append(transforms.RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]))
        factors.append(
            jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)[1:]
        )
    top, left, tall, wide = torch.tensor(boxes).double().T
    a, b, c, d = ours.boxes.double().T
    for theirs, found in (
        (top, a),
        (left, b),
        (tall, c),
        (wide, d),
        (tall * wide, c * d),
        (wide / tall, d / c),
    ):
        assert ks_2samp(theirs, found).pvalue > chance
    hue, widths = hue_and_sigma(ours)
    jittered = hue != 0
    drawn = torch.column_stack([ours.factors[:, :3], hue])[jittered]
    for theirs, found in zip(torch.tensor(factors).T, drawn.T, strict=True):
        assert ks_2samp(theirs, found).pvalue > chance
    blur = transforms.GaussianBlur(9, augment.BLUR_SIGMA)
    sigma = [blur.get_params(*augment.BLUR_SIGMA) for _ in range(n)]
    assert ks_2samp(sigma, widths[widths > 0]).pvalue > chance


@pytest.mark.parametrize("size", [(24, 24), (15, 31), (1, 1)])
def test_a_crop_may_have_any_size_and_be_mirrored(size):
    images = smooth_images()
    boxes = torch.tensor([[3.0, 5.0, 12.0, 10.0]] * len(images))
    expected = functional.resized_crop(images, 3, 5, 12, 10, list(size), antialias=False)
    # A pixel's centre may lie half a pixel of the box beyond its outermost centres.
    inner = [slice(2, -2) if s > 5 else slice(None) for s in size]
    for flip in (False, True):
        found = resized_crop(images, boxes, torch.full((len(images),), flip), size=size)
        assert found.shape[2:] == size
        found = found.flip(-1) if flip else found
        assert (found - expected)[..., inner[0], inner[1]].abs().max() < 1e-5
        # At the border the two differ by what a smooth image changes within a pixel.
        steps = [images.diff(dim=dim).abs().max() for dim in (2, 3)]
        assert (found - expected).abs().max() < 0.5 * (steps[0] + steps[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("height", "width"), [(96, 96), (17, 23), (32, 40)])
@pytest.mark.parametrize("channels", [1, 3])
def test_blur_is_torchvision_s(dtype, height, width, channels):
    images = torch.rand(5, channels, height, width, generator=generator(), dtype=dtype)
    sigma = torch.tensor([0.1, 0.0, 0.7, 1.3, 2.0])
    edge = max(3, blur_edge(height, width))
    found = blur(images, sigma, edge)
    for image, blurred, s in zip(images, found, sigma.tolist(), strict=True):
        if s == 0:
            assert torch.equal(image, blurred)
        else:
            expected = functional.gaussian_blur(image, [edge, edge], [s, s])
            # Widths are drawn in float32 and reach torchvision's kernel as those very numbers.
            assert (blurred - expected).abs().max() < (1e-6 if dtype == torch.float32 else 1e-12)


def test_blur_keeps_constants_the_mean_away_from_borders_and_nothing_to_do():
    sigma = torch.tensor([0.3, 2.0])
    constant = torch.full((2, 1, 12, 12), 0.3, dtype=torch.float64)
    assert (blur(constant, sigma, 5) - constant).abs().max() < 1e-15
    dot = torch.zeros(2, 1, 12, 12, dtype=torch.float64)
    dot[:, :, 6, 5] = 1
    blurred = blur(dot, sigma, 5)
    assert (blurred.sum(dim=(1, 2, 3)) - 1).abs().max() < 1e-14
    assert torch.equal(blurred[..., 6, 3:5].flip(-1), blurred[..., 6, 6:8])
    still = blur(dot, torch.zeros(2), 5)
    assert torch.equal(still, dot)
    assert still.data_ptr() != dot.data_ptr()


def test_a_kernel_must_be_odd_and_fit():
    for edge in (0, 2, -1):
        with pytest.raises(ValueError, match=f"edge is {edge}; expected an odd"):
            gaussian_kernels(torch.ones(1), edge)
    with pytest.raises(ValueError, match="edge of the kernels is 17 for images of 8 x 9"):
        blur(torch.zeros(1, 1, 8, 9), torch.ones(1), 17)


def test_solarise_is_torchvision_s_exactly():
    images = torch.rand(4, 3, 30, 30, generator=generator())
    images[0, 0, 0, :3] = torch.tensor([0.0, 0.5, 1.0])
    chosen = torch.tensor([True, False, True, False])
    found = solarise(images, chosen)
    assert torch.equal(found[chosen], functional.solarize(images[chosen], 0.5))
    assert torch.equal(found[~chosen], images[~chosen])


def test_changes_are_applied_in_the_order_crop_colour_blur_solarise():
    images = smooth_images(6, 40)
    one, half = torch.ones(6), torch.full((6,), 0.5) > 1
    boxes = torch.tensor([[2.0, 4.0, 30.0, 25.0]] * 6)
    factors = colour_factors(*torch.tensor([[1.3, 0.8, 1.2, 0.05]] * 6).T)
    kernels = gaussian_kernels(1.5 * one, 3)
    changes = Changes(boxes, ~half, factors, half, kernels, ~half)
    cropped = resized_crop(images, boxes, ~half, size=(36, 33))
    coloured = colour_jitter(cropped, factors, half)
    expected = solarise(gaussian_blur(coloured, kernels), ~half)
    assert torch.equal(change_images(images, changes, size=(36, 33)), expected)


@pytest.mark.machine
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("recipe", [augment.SIMCLR, *augment.STRONG])
def test_rows_chunks_and_threads_change_no_bits(recipe, channels, monkeypatch):
    shape = (9, channels, 33, 35)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator())
    changes = draw_changes(9, 33, 35, recipe, generator())
    whole = change_images(images, changes)
    for rows in (slice(0, 1), slice(3, 8), torch.tensor([7, 2, 8])):
        assert torch.equal(change_images(images[rows], take_rows(changes, rows)), whole[rows])
    threads = torch.get_num_threads()
    monkeypatch.setattr(augment, "_CHUNK", 1)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(change_images(images, changes), whole)
    finally:
        torch.set_num_threads(threads)


# Each element is copied or comes of one operation that IEEE 754 rounds in one way only, so that
# neither the place of an element nor the instruction set can change it.
_MOVING = """copy_ _to_copy clone lift_fresh index index_put_ ones_like scalar_tensor eye arange
    empty empty_like new_empty alias as_strided detach expand permute select slice unbind unsqueeze
    view reflection_pad2d"""
_ROUNDING = "add add_ sub rsub mul mul_ div div_ neg minimum maximum clamp_ where any nonzero"


class Operations(TorchDispatchMode):
    """Collects the operations of torch by name."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Note the name and go on."""
        scaled = " scaled" if (kwargs or {}).get("alpha", 1) != 1 else ""  # may round once or twice
        self.names.add(func.overloadpacket.__name__ + scaled)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_pass_through_operations_that_round_alike_in_every_batch(channels, dtype):
    images = torch.zeros(9, channels, 33, 35, dtype=torch.uint8)
    for recipe in (augment.SIMCLR, *augment.STRONG):
        changes = draw_changes(9, 33, 35, recipe, generator())
        with Operations() as seen:
            change_images(images, changes, dtype=dtype)
        # Sampling mixes the pixels of one image, in an order that its size decides.
        others = seen.names - set(_MOVING.split()) - set(_ROUNDING.split())
        assert others == {"grid_sampler_2d"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"area": (0.0, 1.0)}, r"area is \(0.0, 1.0\)"),
        ({"area": (0.6, 0.5)}, r"area is \(0.6, 0.5\)"),
        ({"jitter": (0.1, 0.1, 0.1)}, "expected four strengths"),
        ({"jitter": (0.1, 0.1, 0.1, float("nan"))}, "expected four strengths"),
        ({"blur_share": 1.1}, "blur_share is 1.1; expected a probability"),
        ({"flip_share": -0.1}, "flip_share is -0.1"),
    ],
)
def test_a_recipe_refuses_what_is_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        augment.Recipe(**change)


def test_boxes_refuse_areas_out_of_range():
    with pytest.raises(ValueError, match=r"area is \(0.5, 1.5\)"):
        crop_boxes(2, 8, 8, generator(), area=(0.5, 1.5))
