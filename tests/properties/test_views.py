"""Laws of views and pair streams over shapes, seeds and kinds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslsim.data.geometric import crop_boxes
from sslsim.data.pairs import draw_pairs
from sslsim.data.views import TRAINING_VIEWS, VIEWS, draw_view, draw_views, mask_patches, view_shape

SEED = st.integers(0, 2**63)
SHAPE = st.tuples(st.sampled_from([1, 3]), st.integers(2, 12), st.integers(2, 12))


def images_of(n, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


@given(st.sampled_from(VIEWS), st.integers(1, 9), SHAPE, SEED)
def test_a_view_is_a_pure_function_that_mixes_no_samples(kind, n, shape, seed):
    images = images_of(n, shape, 0)
    view = draw_view(images, kind, torch.Generator().manual_seed(seed))
    assert view.shape == (n, *view_shape(kind, shape))
    assert torch.isfinite(view).all()
    images[1:] = 0
    again = draw_view(images, kind, torch.Generator().manual_seed(seed))
    assert torch.equal(view[0], again[0])


@given(SHAPE, SEED)
def test_a_view_of_a_constant_grey_image_is_constant(shape, seed):
    images = torch.full((3, *shape), 100, dtype=torch.uint8)
    for kind in ("crops", "simclr", "weak", "strong", "mask"):
        view = draw_view(images, kind, torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert (view - view[:, :1, :1, :1]).abs().max() < 1e-6


@given(st.integers(1, 40), st.integers(1, 40), SEED)
def test_boxes_lie_in_the_image(height, width, seed):
    boxes = crop_boxes(20, height, width, torch.Generator().manual_seed(seed)).double()
    top, left, tall, wide = boxes.T
    assert boxes.min() >= 0
    assert (top + tall).max() < height * (1 + 1e-6)
    assert (left + wide).max() < width * (1 + 1e-6)
    assert (tall * wide).min() > 0.2 * height * width * (1 - 1e-5)


@given(
    st.sampled_from(VIEWS),
    st.integers(2, 40),
    st.integers(1, 4),
    st.integers(1, 20_000),
    st.integers(0, 2**31),
)
def test_streams_are_whole_and_repeat_themselves(kind, pairs, each, chunk_bytes, seed):
    images = images_of(40, (1, 4, 4), 1)
    stream = draw_pairs(
        images, kind, pairs, views_per_image=2 * each, chunk_bytes=chunk_bytes, seed=seed
    )
    chunks, again = list(stream), list(stream)
    assert all(len(a) and a.shape == b.shape == (len(a), stream.dim) for a, b in chunks)
    assert sum(len(a) for a, _ in chunks) == pairs == stream.n_pairs == len(stream.groups)
    for one, two in zip(chunks, again, strict=True):
        assert np.array_equal(one, two)
    assert len(np.unique(stream.groups)) == -(-pairs // each)
    assert np.bincount(stream.groups).max() <= each


@pytest.mark.machine
@given(
    st.sampled_from(TRAINING_VIEWS),
    st.integers(1, 12),
    st.tuples(st.sampled_from([1, 3]), st.integers(2, 40), st.integers(2, 40)),
    st.tuples(st.integers(0, 12), st.integers(0, 12)),
    st.sampled_from([torch.float32, torch.float64]),
    SEED,
)
def test_rows_of_a_batch_have_the_bits_they_have_in_the_whole(kind, n, shape, ends, dtype, seed):
    images = images_of(n, shape, 0)
    rows = slice(min(ends), max(ends))
    first, second = (torch.Generator().manual_seed(seed) for _ in range(2))
    whole = draw_views(images, kind, first, dtype=dtype, local_views=2)
    part = draw_views(images, kind, second, dtype=dtype, local_views=2, rows=rows)
    assert torch.equal(first.get_state(), second.get_state())
    assert len(whole.views) == len(part.views)
    for a, b in zip(whole.views, part.views, strict=True):
        assert torch.equal(a[rows], b)
    if kind == "noise":
        assert whole.boxes is part.boxes is None
    else:
        assert torch.equal(whole.boxes[rows], part.boxes)


@given(st.integers(1, 6), st.integers(2, 60), st.floats(0.01, 0.99), SEED)
def test_kept_and_masked_patches_part_the_image(n, patches, share, seed):
    count = round(share * patches)
    if not 1 <= count < patches:
        return
    kept, masked = mask_patches(n, patches, share, torch.Generator().manual_seed(seed))
    assert kept.shape == (n, patches - count)
    assert masked.shape == (n, count)
    both = torch.cat([kept, masked], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(patches).expand(n, patches))
    assert (kept.diff(dim=1) > 0).all()
    assert (masked.diff(dim=1) > 0).all()
