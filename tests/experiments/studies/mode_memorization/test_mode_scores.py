"""Memorisation by mode from mean distances: sums, signs, planted modes, and modes to remove."""

import numpy as np
import pytest
import torch

from experiments.studies.mode_memorization.scores import (
    FORMS,
    bands,
    correlation,
    mode_scores,
    removed_modes,
)
from sslsim.memorization.one_encoder.modes import covariance_modes, mode_distances

SETS = ("candidate", "external")


def paired(seed=0, size=6, planted=None):
    """Mean distances by mode of two encoders whose candidates f may have learned in one mode."""
    rng = np.random.default_rng(seed)
    distances, variance = {}, {}
    for name in ("f", "g"):
        z = torch.as_tensor(rng.standard_normal((400, size)) * np.linspace(3.0, 0.5, size))
        modes = covariance_modes(z)
        variance[name] = modes.variance.numpy()
        distances[name] = {}
        for part in SETS:
            noise = rng.standard_normal((500, size)) * np.sqrt(variance[name])
            if planted is not None and name == "f" and part == "candidate":
                noise[:, planted] *= 0.1
            base = torch.as_tensor(rng.standard_normal((500, size)))
            views = base + torch.as_tensor(noise) @ modes.basis.T
            by_image = mode_distances(base, views, modes.basis)
            distances[name][part] = by_image.mean(dim=0).numpy()
    return {"new": distances}, variance


def test_absolute_scores_sum_to_the_score_of_the_whole_distance():
    distances, variance = paired()
    scores = mode_scores(distances, variance)["absolute"]
    sums = {
        (name, part): distances["new"][name][part].sum() for name in ("f", "g") for part in SETS
    }
    whole = sums["g", "candidate"] - sums["f", "candidate"]
    whole -= sums["g", "external"] - sums["f", "external"]
    assert scores.sum() == pytest.approx(whole, rel=1e-10)


def test_equal_encoders_memorise_nothing_in_any_mode():
    distances, variance = paired()
    distances["new"]["g"] = distances["new"]["f"]
    variance["g"] = variance["f"]
    for form in FORMS:
        assert np.array_equal(mode_scores(distances, variance)[form], np.zeros(6))


def test_exchanged_encoders_have_the_opposite_score():
    distances, variance = paired(planted=2)
    swapped = {"new": {"f": distances["new"]["g"], "g": distances["new"]["f"]}}
    turned = {"f": variance["g"], "g": variance["f"]}
    for form in FORMS:
        np.testing.assert_allclose(
            mode_scores(distances, variance)[form], -mode_scores(swapped, turned)[form],
            rtol=1e-12, atol=1e-12,
        )  # fmt: skip


@pytest.mark.parametrize("planted", [0, 3, 5])
def test_memorisation_planted_in_one_mode_is_found_there(planted):
    scores = mode_scores(*paired(planted=planted))
    for form in ("relative", "ratio"):
        assert int(scores[form].argmax()) == planted
        others = np.delete(scores[form], planted)
        assert scores[form][planted] > 3 * np.abs(others).max()
    # The planted mode loses nearly all of its distance: half that of two different images.
    assert scores["relative"][planted] == pytest.approx(0.5, abs=0.1)


def test_relative_and_ratio_scores_are_free_of_the_scale_of_a_mode():
    distances, variance = paired(planted=1)
    scale = np.array([1.0, 10.0, 1.0, 0.1, 1.0, 1.0])
    scaled = {
        name: {part: values * scale for part, values in sets.items()}
        for name, sets in distances["new"].items()
    }
    larger = {name: values * scale for name, values in variance.items()}
    for form in ("relative", "ratio"):
        np.testing.assert_allclose(
            mode_scores({"new": scaled}, larger)[form], mode_scores(distances, variance)[form],
            rtol=1e-10, atol=1e-12,
        )  # fmt: skip


def test_views_seen_are_compared_with_new_views_of_external_images():
    distances, variance = paired()
    seen = {name: {"candidate": distances["new"][name]["candidate"] + 1.0} for name in ("f", "g")}
    both = {**distances, "seen": seen}
    found = mode_scores(both, variance, "seen")["absolute"]
    np.testing.assert_allclose(found, mode_scores(distances, variance)["absolute"], atol=1e-12)


def test_modes_to_remove_are_those_of_the_scores():
    rng = np.random.default_rng(0)
    scores = {"relative": rng.standard_normal(9), "absolute": rng.standard_normal(9)}
    chosen = removed_modes(scores, [0.25, 0.5], 3, seed=1)
    assert list(chosen) == ["0.25", "0.5", "neighbours"]
    for share, count in (("0.25", 2), ("0.5", 4)):
        for name, draws in chosen[share].items():
            assert len(draws) == (3 if name == "random" else 1)
            assert all(len(set(modes)) == count for modes in draws)
        left = np.delete(scores["relative"], chosen[share]["most"][0])
        assert scores["relative"][chosen[share]["most"][0]].min() > left.max()
        left = np.delete(scores["absolute"], chosen[share]["least_absolute"][0])
        assert scores["absolute"][chosen[share]["least_absolute"][0]].max() < left.min()
        assert chosen[share]["first"] == [list(range(count))]
        assert chosen[share]["last"] == [list(range(9 - count, 9))]
    more, less = (chosen["neighbours"][name][0] for name in ("more", "less"))
    for i, (high, low) in enumerate(zip(more, less, strict=True)):
        assert {high, low} == {2 * i, 2 * i + 1}
        assert scores["relative"][high] > scores["relative"][low]


def test_bands_hold_every_mode_once():
    for size in (1, 7, 8, 32, 67):
        places = np.concatenate([np.arange(size)[band] for band in bands(size)])
        assert places.tolist() == list(range(size))
        assert len(bands(size)) == min(8, size)


def test_a_correlation_given_a_third_is_that_of_residuals_of_ranks():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(40)
    x, y = z + rng.standard_normal(40), z + rng.standard_normal(40)
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (x, y, z)]
    rest = [v - np.polyval(np.polyfit(ranks[2], v, 1), ranks[2]) for v in ranks[:2]]
    assert correlation(x, y, z) == pytest.approx(np.corrcoef(rest)[0, 1], rel=1e-9)
    assert np.isnan(correlation(x, y, x))


def test_a_correlation_without_variation_is_missing():
    x, same = [1.0, 3.0, 2.0], [4.0, 4.0, 4.0]
    for arguments in (([1.0], [2.0]), ([], []), (x, same), (same, x), (x, x[::-1], same)):
        assert np.isnan(correlation(*arguments))


def test_one_mode_alone_is_not_removed():
    scores = {"relative": np.ones(1), "absolute": np.ones(1)}
    assert removed_modes(scores, [0.25, 0.5], 3, seed=1) == {}
