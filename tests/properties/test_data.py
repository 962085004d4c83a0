"""Files of images and pairs come back as they were written."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sslsim.data.datasets import holds_pairs, load_images, load_pairs

EDGE = st.integers(4, 9)


@given(
    st.tuples(st.integers(1, 6), EDGE, EDGE, st.sampled_from([1, 3])),
    st.sampled_from(["hwc", "chw"]),
    st.sampled_from([np.uint8, np.float32, np.float64]),
    st.one_of(st.none(), st.integers(1, 8)),
    st.data(),
)
def test_images_survive_every_layout_and_type(shape, layout, dtype, limit, data):
    images = data.draw(arrays(np.uint8, shape))
    n = shape[0]
    saved = images if layout == "hwc" else images.transpose(0, 3, 1, 2)
    saved = saved if dtype == np.uint8 else saved.astype(dtype) / dtype(255)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        np.savez(path, images=saved, labels=np.arange(n))
        assert not holds_pairs(path)
        found = load_images(path, limit=limit)
    kept = found.labels.numpy()
    assert len(kept) == min(n, limit or n)
    assert kept[0] == 0
    assert np.all(np.diff(kept) > 0)
    assert np.ptp(np.diff(kept)) <= 1 if len(kept) > 1 else True
    assert np.array_equal(found.images, images.transpose(0, 3, 1, 2)[kept])


@given(
    st.tuples(st.integers(2, 6), st.integers(1, 6)),
    st.sampled_from([np.uint8, np.float32, np.float64]),
    st.data(),
)
def test_pairs_survive(shape, dtype, data):
    elements = None if dtype == np.uint8 else {"allow_nan": False, "allow_infinity": False}
    x, x_prime = (data.draw(arrays(dtype, shape, elements=elements)) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        np.savez(path, x=x, x_prime=x_prime)
        assert holds_pairs(path)
        found, found_prime = load_pairs(path)
    assert found.dtype == dtype
    assert np.array_equal(found, x)
    assert np.array_equal(found_prime, x_prime)
