"""What subsampling promises for all numbers of encoders and points, and all losses."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslsim.memorization import draw_members, ssl_mem, subsample_scores

seeds = st.integers(0, 2**32 - 1)
forms = st.sampled_from(["raw", "ratio"])
loss = st.floats(0, 1e6, allow_subnormal=False) | st.just(0.0)


@st.composite
def scored_tables(draw):
    encoders, points = draw(st.integers(4, 9)), draw(st.integers(1, 6))
    members = draw_members(encoders, points, 0.5, seed=draw(seeds))
    row = st.lists(loss, min_size=points, max_size=points)
    losses = draw(st.lists(row, min_size=encoders, max_size=encoders))
    return torch.tensor(losses, dtype=torch.float64), members


@given(st.integers(1, 12), st.integers(1, 40), st.floats(0.01, 0.99), seeds)
def test_members_are_balanced_or_refused(encoders, points, share, seed):
    total = round(share * encoders * points)
    if not points <= total <= (encoders - 1) * points:
        with pytest.raises(ValueError, match="in none or out of none"):
            draw_members(encoders, points, share, seed=seed)
        return
    members = draw_members(encoders, points, share, seed=seed)
    assert members.dtype == torch.bool
    assert members.sum() == total
    for axis, count in ((1, encoders), (0, points)):
        sums = members.sum(dim=axis).tolist()
        assert set(sums) <= {total // count, math.ceil(total / count)}
    assert members.any(dim=0).all()
    assert not members.all(dim=0).any()
    assert torch.equal(draw_members(encoders, points, share, seed=seed), members)


@given(scored_tables(), forms)
def test_points_score_as_two_families_of_encoders_do(table, form):
    losses, members = table
    found = subsample_scores(losses, members, form)
    for x in range(losses.shape[1]):
        inside = members[:, x]
        alone = ssl_mem(losses[inside, x, None], losses[~inside, x, None], form)
        # Rounding of losses, of which the ratio is counted in units of their sum.
        atol = 1e-15 if form == "ratio" else 1e-15 * losses[:, x].max().item()
        for name in ("scores", "f_mean", "g_mean"):
            one, other = getattr(found, name)[x], getattr(alone, name)[0]
            torch.testing.assert_close(one, other, rtol=1e-14, atol=atol)
        torch.testing.assert_close(
            found.standard_error[x],
            alone.standard_error[0],
            rtol=1e-12,
            atol=10 * atol,
            equal_nan=True,
        )
    assert found.form == form


@pytest.mark.slow
@given(scored_tables(), forms, st.booleans(), st.randoms(use_true_random=False))
def test_exchanging_members_changes_signs_and_order_is_of_no_account(table, form, centre, random):
    losses, members = table
    centre = centre and form == "raw"
    found = subsample_scores(losses, members, form, centre=centre)
    opposite = subsample_scores(losses, ~members, form, centre=centre)
    assert torch.equal(opposite.scores, -found.scores)
    scale = 1.0 if form == "ratio" else max(1.0, losses.max().item())
    points, encoders = (random.sample(range(n), n) for n in reversed(losses.shape))
    for other, expected in (
        (subsample_scores(losses[:, points], members[:, points], form, centre=centre), points),
        (subsample_scores(losses[encoders], members[encoders], form, centre=centre), slice(None)),
    ):
        torch.testing.assert_close(other.scores, found.scores[expected], rtol=0, atol=2e-15 * scale)


@given(scored_tables(), forms)
def test_points_that_no_encoder_tells_apart_score_exactly_zero(table, form):
    losses, members = table
    equal = losses[:1].expand_as(losses)
    assert not subsample_scores(equal, members, form).scores.any()


@given(scored_tables(), st.floats(0, 1e3))
def test_centred_scores_know_nothing_of_the_offsets_of_encoders(table, spread):
    losses, members = table
    offsets = spread * torch.arange(len(losses), dtype=torch.float64)[:, None]
    found = subsample_scores(losses, members, centre=True)
    shifted = subsample_scores(losses + offsets, members, centre=True)
    scale = losses.max().item() + 10 * spread + 1
    torch.testing.assert_close(shifted.scores, found.scores, rtol=0, atol=1e-14 * scale)
