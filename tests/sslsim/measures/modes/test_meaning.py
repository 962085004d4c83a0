"""Modes with planted meanings, and modes without any."""

import numpy as np
import pytest
import torch

from sslsim.measures.modes.accuracy import accuracy_by_modes, first_modes_accuracy
from sslsim.measures.modes.directions import mode_directions, random_directions
from sslsim.measures.modes.meaning import explained, mode_meaning
from sslsim.measures.modes.overlap import mode_overlaps
from sslsim.measures.modes.statistics import class_columns, image_statistics


@pytest.fixture(scope="module")
def images():
    """Images of random colours, brightnesses and textures."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.1, 0.9, (400, 3, 1, 1))
    texture = rng.uniform(0, 0.4, (400, 1, 1, 1)) * rng.standard_normal((400, 1, 6, 6))
    return torch.from_numpy((255 * np.clip(base + texture, 0, 1)).round().astype(np.uint8))


@pytest.fixture(scope="module")
def statistics(images):
    rng = np.random.default_rng(1)
    return image_statistics(images) | {"class": class_columns(rng.integers(4, size=400))}


def test_modes_that_are_statistics_are_found(statistics):
    rng = np.random.default_rng(2)
    angle = np.arctan2(*statistics["hue"].T[::-1])
    hue = np.cos(angle - 1.0)
    modes = np.stack([statistics["brightness"][:, 0], hue, rng.standard_normal(400)], axis=1)
    found = mode_meaning(modes, statistics, rng=0)
    names = list(found.statistics)
    assert found.correlation[0, names.index("brightness")] == pytest.approx(1.0)
    assert found.correlation[1, names.index("hue")] == pytest.approx(1.0)
    assert found.correlation[1, names.index("colour")] == pytest.approx(1.0)
    assert found.p_value[0, names.index("brightness")] == 1 / 1000
    assert found.p_value[1, names.index("hue")] == 1 / 1000
    assert (found.p_value[2] > 0.05).all()
    inside = (found.low <= found.correlation) & (found.correlation <= found.high)
    assert inside[:2, names.index("brightness")].all()


def test_a_hue_is_found_wherever_it_lies_on_the_circle(statistics):
    angle = np.arctan2(*statistics["hue"].T[::-1])
    modes = np.stack([np.cos(angle - shift) for shift in np.linspace(0, 6, 7)], axis=1)
    found = mode_meaning(modes, {"hue": statistics["hue"]}, permutations=99, resamples=3)
    np.testing.assert_allclose(found.correlation, 1.0)


def test_modes_of_noise_give_a_finding_as_often_as_the_level_says(statistics):
    rng = np.random.default_rng(3)
    false = sum(
        (
            mode_meaning(
                rng.standard_normal((400, 4)), statistics, permutations=59, resamples=2, rng=rng
            ).p_value
            <= 0.05
        ).any()
        for _ in range(60)
    )
    # 60 draws at a level of 3/60: more than 9 have a probability below 1 in 1000.
    assert false <= 9


def test_permuted_images_have_no_meaning(statistics):
    modes = np.concatenate([statistics["brightness"], statistics["contrast"]], axis=1)
    permuted = modes[np.random.default_rng(4).permutation(400)]
    assert (mode_meaning(modes, statistics).p_value <= 0.05).any()
    assert (mode_meaning(permuted, statistics).p_value > 0.05).all()


def test_a_statistic_that_never_varies_is_no_finding():
    rng = np.random.default_rng(5)
    modes = rng.standard_normal((50, 2))
    same = {"same": np.full((50, 1), 0.3), "other": rng.standard_normal((50, 1))}
    found = mode_meaning(modes, same, permutations=39, resamples=5)
    assert found.correlation[:, 0].tolist() == [0.0, 0.0]
    assert found.p_value[:, 0].tolist() == [1.0, 1.0]
    assert explained(modes, same)[0] == 0


def test_a_class_for_every_image_leaves_the_test_of_other_statistics():
    x, noise = np.random.default_rng(9).standard_normal((2, 30, 1))
    statistics = {"class": np.eye(30), "x": x, "other": noise[::-1] ** 2}
    found = mode_meaning(x + 0.1 * noise, statistics, permutations=99, resamples=2)
    assert found.p_value[0, 0] == 1.0
    assert found.p_value[0, 1] == 0.01
    assert found.p_value[0, 2] > 0.05


def test_intervals_cover_the_correlation_as_often_as_they_say():
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(100):
        x, noise = rng.standard_normal((2, 200, 1))
        modes = 0.6 * x + 0.8 * noise
        found = mode_meaning(modes, {"x": x}, permutations=1, resamples=100, rng=rng)
        covered += bool(found.low[0, 0] <= 0.6 <= found.high[0, 0])
    assert 80 <= covered <= 99  # of 90 expected, three standard deviations below and above


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"x has shape \(4, 1\); expected \(5, p\)"):
        mode_meaning(np.zeros((5, 1)), {"x": np.zeros((4, 1))})
    with pytest.raises(ValueError, match="no statistics are given"):
        mode_meaning(np.zeros((5, 1)), {})
    with pytest.raises(ValueError, match=r"modes have shape \(0, 2\); expected \(n, k\)"):
        mode_meaning(np.zeros((0, 2)), {"x": np.zeros((0, 1))})


@pytest.mark.parametrize("measure", [mode_meaning, explained])
def test_values_that_are_no_numbers_are_refused(measure):
    values, wrong = np.arange(5.0)[:, None], np.full((5, 1), np.nan)
    with pytest.raises(ValueError, match="values of modes are NaN or infinite"):
        measure(wrong, {"x": values})
    with pytest.raises(ValueError, match="values of x are NaN or infinite"):
        measure(values, {"x": wrong})


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"permutations": 0}, "permutations is 0; expected at least 1"),
        ({"resamples": 0}, "resamples is 0; expected at least 1"),
        ({"level": 1.0}, "level is 1.0; expected a number between 0 and 1"),
    ],
)
def test_a_test_without_draws_is_refused(option, expected):
    values = np.arange(5.0)[:, None]
    with pytest.raises(ValueError, match=expected):
        mode_meaning(values, {"x": values}, **option)


@pytest.mark.parametrize("spectrum", ["cross", "covariance"])
def test_a_rotation_of_the_embedding_leaves_the_modes(spectrum):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(80, 5, generator=generator, dtype=torch.float64) * torch.arange(5, 0, -1)
    z_prime = z + 0.3 * torch.randn(80, 5, generator=generator, dtype=torch.float64)
    turn = torch.from_numpy(random_directions(5, 5, np.random.default_rng(1)))
    values, directions = mode_directions(z, z_prime, spectrum)
    turned, other = mode_directions(z @ turn, z_prime @ turn, spectrum)
    np.testing.assert_allclose(turned, values, rtol=1e-9)
    first, second = z.numpy() @ directions, (z @ turn).numpy() @ other
    np.testing.assert_allclose(np.abs(second), np.abs(first), rtol=1e-6, atol=1e-9)


def test_the_modes_of_an_encoder_of_brightness_and_red_are_these(images, statistics):
    """Planted: a linear map whose output is a mix of mean luminance and mean redness."""
    means = images.double().mean(dim=(2, 3)) / 255
    luminance = means @ torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    planted = torch.stack([3 * luminance, means[:, 0]], dim=1)
    planted = planted - planted.mean(dim=0)
    turn = torch.from_numpy(random_directions(2, 2, np.random.default_rng(2)))
    z = planted @ turn
    _, directions = mode_directions(z, z)
    shares = explained(z.numpy() @ directions, {"red": planted[:, 1:].numpy()} | statistics)
    names = ["red", *statistics]
    assert shares[0] == pytest.approx(1.0)
    assert shares[names.index("brightness")] == pytest.approx(1.0)
    assert shares[names.index("class")] < 0.05
    found = mode_meaning(z.numpy() @ directions[:, :1], statistics)
    assert abs(found.correlation[0, list(statistics).index("brightness")]) > 0.9


def test_accuracy_comes_from_the_modes_that_hold_the_classes():
    rng = np.random.default_rng(7)
    labels = rng.integers(3, size=600)
    centres = 4 * np.eye(3)[labels]
    z = np.concatenate([10 * rng.standard_normal((600, 2)), centres], axis=1)
    z[:, 2:] += rng.standard_normal((600, 3))
    halves = [(z[i::2], labels[i::2]) for i in range(2)]
    _, directions = mode_directions(torch.from_numpy(z), torch.from_numpy(z))
    found = accuracy_by_modes(*halves, directions, [1, 2, 5])
    assert found["first"][1] < 0.45  # two large modes of noise
    assert found["without"][1] > 0.95
    assert found["first"][2] > 0.95
    assert np.isnan(found["without"][2])
    # All directions, in whatever basis, hold the same.
    assert found["random"][2] == pytest.approx(found["first"][2], abs=0.02)
    alone = first_modes_accuracy(*halves, directions, [2])
    assert alone[0] == found["first"][1]


def test_overlap_is_that_of_spaces_and_of_chance():
    rng = np.random.default_rng(8)
    first = rng.standard_normal((300, 4))
    mixed = first @ rng.standard_normal((4, 4)) + 5.0
    other = rng.standard_normal((300, 4))
    found = mode_overlaps([first, mixed, other], [4])[0]
    np.testing.assert_allclose(found, found.T)
    assert found[0, 1] == pytest.approx(1.0)
    assert found[0, 2] < 0.05
    chance = [
        mode_overlaps([first, rng.standard_normal((300, 4))], [4])[0, 0, 1] for _ in range(100)
    ]
    assert np.mean(chance) == pytest.approx(4 / 299, abs=0.002)
    with pytest.raises(ValueError, match="modes are of 300, 299 images"):
        mode_overlaps([first, first[1:]], [1])
