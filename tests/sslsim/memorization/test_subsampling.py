"""Members and scores of subsampling: their laws, planted answers and refusals."""

from collections import Counter
from itertools import product

import pytest
import torch
from scipy import stats

from sslsim.memorization import draw_members, subsample_scores


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def planted(encoders, points, noise, offset, seed, share=0.7):
    """Losses whose points are memorised by known amounts, of encoders with offsets."""
    members = draw_members(encoders, points, share, seed=seed)
    memorised = torch.linspace(0, 1, points, dtype=torch.float64)
    losses = 20 + normal(0, points) - memorised * members
    losses += noise * normal(2 * seed + 1, encoders, points)
    losses += offset * normal(2 * seed + 2, encoders, 1)
    return losses, members, memorised


@pytest.mark.slow
@pytest.mark.parametrize(("encoders", "points", "share"), [(4, 4, 0.5), (3, 4, 0.5), (2, 6, 0.5)])
def test_all_balanced_tables_are_equally_likely(encoders, points, share):
    rows = [row for row in product((0, 1), repeat=points) if sum(row) == points * share]
    tables = {
        table
        for table in product(rows, repeat=encoders)
        if max(counts := list(map(sum, zip(*table, strict=True)))) - min(counts) <= 1
    }
    # Eight of each expected: the test sees shares that are off by a quarter of themselves (rms).
    draws = 8 * len(tables)
    counts = Counter(
        tuple(map(tuple, draw_members(encoders, points, share, seed=seed).int().tolist()))
        for seed in range(draws)
    )
    assert set(counts) <= tables
    observed = [counts[table] for table in tables]
    assert stats.chisquare(observed).pvalue > 1e-3


def test_two_encoders_share_as_many_points_as_by_chance():
    members = draw_members(64, 4000, seed=3).double()
    first, second = torch.triu_indices(64, 64, 1)
    common = (members @ members.T)[first, second]
    # Every point of c encoders is common to c (c - 1) / 2 pairs; two random subsets of 2800 of
    # 4000 points have a hypergeometric number in common.
    sums = members.sum(dim=0)
    assert common.sum() == (sums * (sums - 1) / 2).sum()
    expected = stats.hypergeom(4000, 2800, 2800).std()
    assert 0.93 * expected < common.std() < 1.07 * expected


def test_seeds_draw_different_members():
    assert not torch.equal(draw_members(8, 50, seed=0), draw_members(8, 50, seed=1))


def test_scores_are_those_of_a_literal_loop():
    losses, members, _ = planted(9, 30, noise=0.5, offset=0.5, seed=1)
    found = subsample_scores(losses, members)
    for x in range(30):
        groups = [[], []]
        for k in range(9):
            groups[int(members[k, x])].append(float(losses[k, x]))
        without, having = (sum(group) / len(group) for group in groups)
        variance = sum(
            sum((value - sum(group) / len(group)) ** 2 for value in group)
            / (len(group) - 1)
            / len(group)
            for group in groups
        )
        assert float(found.scores[x]) == pytest.approx(without - having, abs=1e-13)
        assert float(found.standard_error[x]) == pytest.approx(variance**0.5, rel=1e-12)
        assert float(found.f_mean[x]) == pytest.approx(having)
        assert float(found.g_mean[x]) == pytest.approx(without)


@pytest.mark.slow
def test_planted_memorisation_is_found_within_its_standard_errors():
    replications, points = 100, 40
    covered, errors = [], []
    for seed in range(replications):
        losses, members, memorised = planted(20, points, noise=0.3, offset=0.0, seed=seed)
        found = subsample_scores(losses, members)
        # Welch's degrees of freedom for groups of 14 and 6 of one variance: about 9.
        covered.append(
            (found.scores - memorised).abs() < stats.t.ppf(0.975, 9) * (found.standard_error)
        )
        errors.append(found.scores - memorised)
    share = torch.stack(covered).double().mean().item()
    assert 0.93 < share < 0.97
    bias = torch.stack(errors).mean(dim=0)
    assert bias.abs().max() < 4 * 0.3 * (1 / 14 + 1 / 6) ** 0.5 / replications**0.5
    true_error = 0.3 * (1 / 14 + 1 / 6) ** 0.5
    assert torch.stack(errors).std().item() == pytest.approx(true_error, rel=0.05)


@pytest.mark.slow
def test_centring_saves_the_variance_of_offsets_and_shifts_scores_as_it_says():
    replications, points = 200, 12
    found = {True: [], False: []}
    for seed in range(replications):
        losses, members, memorised = planted(20, points, 0.1, 1.0, seed, share=0.75)
        for centre in found:
            found[centre].append(subsample_scores(losses, members, centre=centre))
    said = memorised + (memorised.mean() - memorised) / (points - 1)
    errors = {
        centre: torch.stack([one.scores for one in many]) - (said if centre else memorised)
        for centre, many in found.items()
    }
    spread = {centre: error.std(dim=0) for centre, error in errors.items()}
    for centre, error in errors.items():
        assert (error.mean(dim=0).abs() < 4 * spread[centre] / replications**0.5).all()
    # Offsets of 1 beside noise of 0.1: their variance, 100 times the other, is gone. What is left
    # is the noise, and what the scores of the other points are to a mean over few.
    assert (spread[False].square() / spread[True].square()).min() > 30
    # And is the bias told from none at all?
    wrong = torch.stack([one.scores for one in found[True]]) - memorised
    assert (wrong.mean(dim=0).abs() > 4 * spread[True] / replications**0.5).sum() >= 4


def test_centred_errors_are_those_of_centred_losses():
    losses, members, _ = planted(12, 8, 0.1, 1.0, 0)
    centred = losses - losses.mean(dim=1, keepdim=True) + losses.mean()
    found = subsample_scores(losses, members, centre=True)
    expected = subsample_scores(centred, members)
    torch.testing.assert_close(found.standard_error, expected.standard_error)
    torch.testing.assert_close(found.f_mean, expected.f_mean)
    raw = subsample_scores(losses, members)
    assert (found.standard_error < raw.standard_error / 2).all()


def test_small_differences_of_large_losses_keep_their_digits():
    members = torch.tensor([[True], [True], [False], [False]])
    step = 2.0**-20
    losses = 2.0**30 + step * torch.tensor([[0.0], [1.0], [2.0], [4.0]], dtype=torch.float64)
    found = subsample_scores(losses, members)
    assert found.scores.item() == 2.5 * step
    assert found.standard_error.item() == pytest.approx(step * (0.25 + 1) ** 0.5)


def test_one_encoder_on_a_side_leaves_no_standard_error():
    members = torch.tensor([[True, True], [False, True], [False, False], [False, False]])
    found = subsample_scores(torch.rand(4, 2), members)
    assert found.standard_error.isnan().tolist() == [True, False]
    assert found.scores.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5), "encoders is 0"),
        ((5, 0), "points is 0"),
        ((5, 5, 0.0), "share is 0.0; expected a number between 0 and 1"),
        ((5, 5, 1.0), "share is 1.0"),
        ((5, 5, float("nan")), "share is nan"),
        ((3, 100, 0.7), "expected at least 4 encoders"),
        ((9, 100, 0.9), "expected at least 10 encoders"),
        ((9, 100, 0.1), "expected at least 10 encoders"),
        ((1, 100, 0.5), "expected at least 2 encoders"),
    ],
)
def test_unfit_numbers_of_encoders_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_members(*arguments)


@pytest.mark.parametrize("share", [0.9, 0.1, 0.7, 1 / 3, 0.5])
def test_the_number_of_encoders_that_errors_name_is_enough(share):
    with pytest.raises(ValueError, match="expected at least") as refused:
        draw_members(1, 100, share)
    needed = int(str(refused.value).split()[-2])
    draw_members(needed, 100, share)


def test_unfit_seeds_are_refused():
    with pytest.raises(ValueError, match="seed is -1"):
        draw_members(5, 5, seed=-1)


@pytest.mark.parametrize(
    ("losses", "members", "options", "message"),
    [
        (torch.rand(4, 2), torch.ones(4, 3, dtype=torch.bool), {}, "equal shapes"),
        (torch.rand(4, 2), torch.ones(4, 2), {}, "members is torch.float32"),
        (torch.rand(2, 1), torch.ones(2, 1, dtype=torch.bool), {}, r"1 point\(s\), the first 0"),
        (-torch.rand(2, 1), torch.eye(2, dtype=torch.bool)[:, :1], {}, "none negative"),
        ([[float("nan")], [0.0]], torch.eye(2, dtype=torch.bool)[:, :1], {}, "NaN or infinite"),
        (torch.rand(2, 2), torch.eye(2, dtype=torch.bool), {"form": "other"}, "form is 'other'"),
        (
            torch.rand(2, 2),
            torch.eye(2, dtype=torch.bool),
            {"form": "ratio", "centre": True},
            "expected it with form 'raw' only",
        ),
    ],
)
def test_unfit_losses_are_refused(losses, members, options, message):
    with pytest.raises(ValueError, match=message):
        subsample_scores(losses, members, **options)
