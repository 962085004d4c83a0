"""Statistics of images against a literal transcription, pixel by pixel."""

import cmath
import colorsys
import math

import numpy as np
import pytest
import torch

from sslsim.measures.modes.statistics import class_columns, image_statistics, is_grey


def slow(image):
    """Statistics of one image (c, h, w) in [0, 1], from their definitions."""
    channels, height, width = image.shape
    luminance, hue, saturation = np.zeros((height, width)), 0j, []
    for row in range(height):
        for column in range(width):
            pixel = image[:, row, column]
            if channels == 1:
                luminance[row, column] = pixel[0]
                continue
            red, green, blue = (float(value) for value in pixel)
            luminance[row, column] = 0.299 * red + 0.587 * green + 0.114 * blue
            turn, s, _ = colorsys.rgb_to_hsv(red, green, blue)
            saturation.append(s)
            chroma = max(red, green, blue) - min(red, green, blue)
            hue += chroma * cmath.exp(2j * math.pi * turn)
    mean = luminance.mean()
    away = luminance - mean
    power, frequency = 0.0, 0.0
    for u in range(height):
        for v in range(width):
            total = sum(
                away[r, c] * cmath.exp(-2j * math.pi * (u * r / height + v * c / width))
                for r in range(height)
                for c in range(width)
            )
            cycles = [k / size if k < size / 2 else k / size - 1 for k, size in
                      ((u, height), (v, width))]  # fmt: skip
            power += abs(total) ** 2
            frequency += math.hypot(*cycles) * abs(total) ** 2
    mass = np.abs(away)
    places = np.meshgrid(
        [2 * c / (width - 1) - 1 for c in range(width)],
        [2 * r / (height - 1) - 1 for r in range(height)],
    )
    found = {
        "brightness": [mean],
        "contrast": [math.sqrt((away**2).mean())],
        "frequency": [frequency / power],
        "horizontal": [(places[0] * mass).sum() / mass.sum()],
        "vertical": [(places[1] * mass).sum() / mass.sum()],
    }
    if channels == 3:
        angle = cmath.phase(hue)
        found["hue"] = [math.cos(angle), math.sin(angle)]
        found["saturation"] = [np.mean(saturation)]
        found["colour"] = [*found["hue"], *found["saturation"], mean]
    return found


@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 5, 6), (3, 4, 4)])
def test_statistics_are_those_of_a_literal_transcription(shape):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (5, *shape), generator=generator, dtype=torch.uint8)
    found = image_statistics(images)
    for place, image in enumerate(images.numpy() / 255):
        expected = slow(image)
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name][place], values, rtol=1e-9, atol=1e-12)


def test_chunks_of_images_make_no_difference():
    images = torch.randint(256, (300, 3, 4, 4), dtype=torch.uint8)
    whole, one = image_statistics(images), image_statistics(images[270:271])
    for name, values in one.items():
        np.testing.assert_allclose(whole[name][270:271], values, rtol=1e-12)


def test_a_constant_image_has_no_texture_and_no_place():
    found = image_statistics(torch.full((2, 3, 5, 5), 77, dtype=torch.uint8))
    for name in ("contrast", "frequency", "horizontal", "vertical", "saturation"):
        assert (found[name] == 0).all(), name


def test_the_mean_hue_of_reds_on_either_side_of_zero_is_red():
    images = torch.zeros(1, 3, 1, 2, dtype=torch.uint8)
    images[0, :, 0, 0] = torch.tensor([255, 60, 0])
    images[0, :, 0, 1] = torch.tensor([255, 0, 60])
    np.testing.assert_allclose(image_statistics(images)["hue"], [[1.0, 0.0]], atol=1e-12)


def test_grey_images_are_told_from_coloured_ones():
    images = torch.randint(256, (3, 1, 4, 4), dtype=torch.uint8)
    assert is_grey(images).all()
    coloured = images.repeat(1, 3, 1, 1)
    coloured[1, 0] //= 2
    assert is_grey(coloured).tolist() == [True, False, True]


def test_images_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"images is torch.float32 of shape \(2, 3, 4, 4\)"):
        image_statistics(torch.zeros(2, 3, 4, 4))


def test_class_columns_give_the_correlation_ratio():
    labels = np.array([0, 0, 2, 2, 2, 5])
    mode = np.array([1.0, 2.0, 4.0, 5.0, 6.0, 0.0])
    columns = class_columns(labels)
    means = [mode[labels == label].mean() for label in (0, 2, 5)]
    between = sum(n * (m - mode.mean()) ** 2 for n, m in zip((2, 3, 1), means, strict=True))
    fitted = columns @ np.linalg.lstsq(columns, mode, rcond=None)[0]
    assert np.isclose(np.sum((fitted - mode.mean()) ** 2), between)
