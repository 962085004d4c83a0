"""Damaged ``.npz`` files are told in one line, whatever byte is wrong."""

import zipfile

import numpy as np
import pytest

from sslsim.core.files import npz_names, read_npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_flipped_byte_gives_more_than_one_line(tmp_path, save):
    path = tmp_path / "x.npz"
    images = np.arange(20, dtype=np.uint8).reshape(5, 2, 2)
    save(path, images=images)
    whole = path.read_bytes()
    told = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 255
        path.write_bytes(damaged)
        try:
            read_npz(path)
        except ValueError as error:
            told.append(str(error))
    assert all("\n" not in line and line.startswith(str(path)) for line in told)
    assert len(told) > len(whole) // 4


def test_objects_are_never_unpickled_and_nothing_is_said_of_how_to(tmp_path):
    np.savez(tmp_path / "x.npz", labels=np.array([None, 1]))
    with pytest.raises(
        ValueError, match="labels cannot be read: it holds Python objects"
    ) as caught:
        read_npz(tmp_path / "x.npz")
    assert "allow_pickle" not in str(caught.value)


def test_a_shape_that_no_memory_holds_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000000,), }"
    head = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", head)
        archive.writestr("note.txt", "not an array")
    with pytest.raises(ValueError, match="images cannot be read"):
        read_npz(path, ["images"])
    assert npz_names(path) == ["images", "note.txt"]
    with pytest.raises(ValueError, match="is no array"):
        read_npz(path, ["note.txt"])


def test_a_folder_is_not_a_file(tmp_path):
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(ValueError, match=r"x\.npz cannot be read: Is a directory"):
        read_npz(tmp_path / "x.npz")
