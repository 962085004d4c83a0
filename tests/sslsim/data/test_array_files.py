"""Images and pairs in array files of any real type, and what is refused."""

import gzip

import numpy as np
import pytest

from sslsim.data.array_files import read_idx, read_images
from sslsim.data.datasets import load_images, load_pairs

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4))


def idx(array, code):
    """Bytes of an IDX file, put together as the format is described."""
    content = bytes([0, 0, code, array.ndim])
    for side in array.shape:
        content += int(side).to_bytes(4, "big")
    return content + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(
    "name",
    ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "x.idx", "x.UBYTE", "x.idx3.gz"],
)
def test_idx_files_are_images_under_all_their_usual_names(tmp_path, name):
    content = idx(PIXELS.astype(np.uint8), 8)
    (tmp_path / name).write_bytes(
        gzip.compress(content, mtime=0) if name.endswith("gz") else content
    )
    images = load_images(tmp_path / name)
    np.testing.assert_array_equal(images.images[:, 0].numpy(), PIXELS)
    assert images.labels is None
    assert len(load_images(tmp_path / name, limit=2).images) == 2


@pytest.mark.parametrize("end", ["", ".gz"])
def test_labels_are_read_from_the_file_beside(tmp_path, end):
    pack = gzip.compress if end else bytes
    classes = np.arange(6, dtype=np.uint8) % 3
    path = tmp_path / f"t10k-images-idx3-ubyte{end}"
    path.write_bytes(pack(idx(PIXELS.astype(np.uint8), 8)))
    (tmp_path / f"t10k-labels-idx1-ubyte{end}").write_bytes(pack(idx(classes, 8)))
    assert load_images(path).labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")]
)
def test_idx_types_are_read_as_they_were_written(tmp_path, code, dtype):
    array = (np.arange(6).reshape(2, 3) * (-1 if dtype[0] != "u" else 1)).astype(dtype)
    (tmp_path / "x.idx").write_bytes(idx(array, code))
    found = read_idx(tmp_path / "x.idx")
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not start like an IDX file"),
        (b"hello world", "does not start like an IDX file"),
        (bytes([0, 0, 8, 3, 0, 0]), "does not start like an IDX file"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2]), "holds 2 bytes of values; expected 3"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 1, 2]), "holds 2 bytes of values; expected 1"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]), r"images has shape \(3,\)"),
        (gzip.compress(bytes(40), mtime=0)[:-9], "not a readable gzip file"),
        (
            gzip.compress(bytes(40), mtime=0)[:12] + b"0" * 20,
            "not a readable gzip file|cannot be read",
        ),
    ],
)
def test_damaged_idx_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        load_images(path)
    assert len(str(raised.value).splitlines()) == 1


def test_npy_files_are_images(tmp_path):
    for name, array in (("grey", PIXELS), ("rgb", PIXELS[:, :, :3, None].repeat(3, axis=3))):
        np.save(tmp_path / f"{name}.npy", array.astype(np.uint8))
    assert tuple(load_images(tmp_path / "grey.npy").images.shape) == (6, 1, 5, 4)
    assert tuple(load_images(tmp_path / "rgb.npy").images.shape) == (6, 3, 5, 3)
    np.save(tmp_path / "rows.npy", np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"images has shape \(4, 3\)"):
        load_images(tmp_path / "rows.npy")
    np.save(tmp_path / "objects.npy", np.array([None, 1]), allow_pickle=True)
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY\x01")
    for name in ("objects", "torn"):
        with pytest.raises(ValueError, match=r"is not a readable \.npy file") as raised:
            load_images(tmp_path / f"{name}.npy")
        assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(ValueError, match="cannot be read"):
        load_images(tmp_path / "absent.npy")


@pytest.mark.parametrize(
    ("array", "pixels"),
    [
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS.astype(np.uint16), PIXELS),
        (PIXELS > 99, 255 * (PIXELS > 99)),
        ((PIXELS > 99).astype(np.float16), 255 * (PIXELS > 99)),
        (PIXELS / 255, PIXELS),
        ((PIXELS / 255).astype(np.float32), PIXELS),
    ],
)
def test_pixels_of_every_type_with_a_clear_meaning_are_read(tmp_path, array, pixels):
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", images=array)
    for name in ("x.npy", "x.npz"):
        np.testing.assert_array_equal(read_images(tmp_path / name)[0][:, 0], pixels)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PIXELS * 1j, "images is complex128; expected real numbers"),
        (PIXELS + 1, "images are int64 from 1 to 256"),
        (PIXELS - 1, "images are int64 from -1 to"),
        ((PIXELS > 99).astype(int), "images are int64 from 0 to 1; expected .* booleans"),
        (PIXELS.astype(np.float16), "expected floats in .0, 1."),
    ],
)
def test_pixels_without_a_clear_meaning_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message) as raised:
        load_images(tmp_path / "x.npy")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint16, np.int64, bool])
def test_pairs_of_other_real_types_are_their_values(tmp_path, dtype):
    x = np.random.default_rng(1).integers(0, 2, (5, 3)).astype(dtype)
    np.savez(tmp_path / "pairs.npz", x=x, x_prime=x[::-1])
    found = load_pairs(tmp_path / "pairs.npz")
    assert [view.dtype for view in found] == [np.float64] * 2
    np.testing.assert_array_equal(found[1], x[::-1].astype(float))


def test_complex_pairs_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "pairs.npz", x=np.eye(3) * 1j, x_prime=np.eye(3))
    with pytest.raises(ValueError, match="x is complex128; expected real numbers") as raised:
        load_pairs(tmp_path / "pairs.npz")
    assert len(str(raised.value).splitlines()) == 1
