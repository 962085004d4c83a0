"""Photographs written for the test, found and read back."""

import numpy as np
import pytest
import torch
from PIL import Image

from sslsim.data.photos import find_photos, read_photos


def save(path, colour="red", size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def pixels(height, width, channels, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_classes_are_the_sorted_first_level_folders(tmp_path):
    for name in ("b/2.png", "a/deep/er/1.JPG", "b/1.bmp", "c/notes.txt/3.png"):
        save(tmp_path / name)
    (tmp_path / "a" / "readme.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    save(tmp_path / ".hidden" / "1.png")
    save(tmp_path / "a" / "._1.png")
    with pytest.warns(UserWarning, match=r"1 file\(s\) of other endings .*1 \.txt"):
        paths, labels = find_photos(tmp_path, "train")
    names = [str(p.relative_to(tmp_path)) for p in paths]
    assert names == ["a/deep/er/1.JPG", "b/1.bmp", "b/2.png", "c/notes.txt/3.png"]
    assert labels.tolist() == [0, 1, 1, 2]
    (tmp_path / "a" / "readme.txt").unlink()
    assert find_photos(tmp_path, "all")[0] == paths


@pytest.mark.parametrize(
    "names", [["1.png", "2.png"], ["a/1.png"], ["1.png", "a/1.png", "b/1.png"]]
)
def test_folders_without_classes(tmp_path, names):
    for name in names:
        save(tmp_path / name)
    paths, labels = find_photos(tmp_path, "train")
    assert len(paths) == len(names)
    assert labels is None


@pytest.mark.parametrize("test", ["val", "test"])
def test_a_folder_with_train_and_val_is_split(tmp_path, test):
    for name in ("train/a/1.png", "train/b/1.png", f"{test}/a/1.png", f"{test}/b/2.png"):
        save(tmp_path / name)
    assert [p.parts[-3] for p in find_photos(tmp_path, "train")[0]] == ["train"] * 2
    assert [p.parts[-3] for p in find_photos(tmp_path, "test")[0]] == [test] * 2
    paths, labels = find_photos(tmp_path, "all")
    assert [p.parts[-3] for p in paths] == ["train"] * 2 + [test] * 2
    assert labels.tolist() == [0, 1, 0, 1]


def test_a_folder_that_is_not_split_has_no_test_images(tmp_path):
    save(tmp_path / "train" / "1.png")  # a class that happens to have this name
    assert len(find_photos(tmp_path, "train")[0]) == 1
    with pytest.raises(ValueError, match="no split 'test'; expected one of train, all"):
        find_photos(tmp_path, "test")


def test_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r"holds no images; expected files \.jpg"):
        find_photos(tmp_path, "train")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_one_size_are_kept_as_they_are(tmp_path, channels):
    arrays = [pixels(5, 7, channels, seed) for seed in range(600)]  # several blocks of threads
    paths = [tmp_path / f"{k}.png" for k in range(600)]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path, compress_level=0)
    images = read_photos(paths)
    assert images.dtype == torch.uint8
    assert images.shape == (600, channels, 5, 7)
    expected = np.stack(arrays).reshape(600, 5, 7, channels).transpose(0, 3, 1, 2)
    assert np.array_equal(images.numpy(), expected)


def test_grey_among_coloured_images_is_given_three_channels(tmp_path):
    grey = save(tmp_path / "grey.png", 77, mode="L")
    images = read_photos([grey, save(tmp_path / "red.png")])
    assert images[:, :, 0, 0].tolist() == [[77, 77, 77], [255, 0, 0]]
    assert read_photos([grey, save(tmp_path / "la.png", (9, 255), mode="LA")]).shape[1] == 1


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "1"])
def test_other_kinds_of_images(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    image = Image.new("RGB", (4, 4), "white").convert(mode)
    image.save(tmp_path / f"x.{suffix}")
    if mode == "P":  # a transparency of bytes, of which Pillow warns
        image.save(tmp_path / f"x.{suffix}", transparency=bytes([10] * 256))
    images = read_photos([tmp_path / f"x.{suffix}"])
    assert images.shape == (1, 1 if mode == "1" else 3, 4, 4)
    assert images.min() == 255


def test_images_of_different_sizes_become_squares_of_96_or_of_the_size_asked(tmp_path):
    paths = [save(tmp_path / "a.png", size=(200, 100)), save(tmp_path / "b.png", size=(40, 50))]
    assert read_photos(paths).shape == (2, 3, 96, 96)
    assert read_photos(paths, 20).shape == (2, 3, 20, 20)
    assert read_photos(paths[:1]).shape == (1, 3, 100, 200)
    assert read_photos(paths[:1], 20).shape == (1, 3, 20, 20)


def test_the_centre_is_cut_out(tmp_path):
    array = np.zeros((10, 30), dtype=np.uint8)
    array[:, 10:20] = 200
    Image.fromarray(array).save(tmp_path / "x.png")
    assert read_photos([tmp_path / "x.png"], 10).unique().tolist() == [200]


def test_large_jpegs_are_decoded_at_a_fraction_of_their_size_and_look_the_same(tmp_path):
    wave = (127.5 + 120 * np.sin(2 * np.pi * np.arange(800) / 25)).astype(np.uint8)
    array = np.stack([np.tile(wave, (800, 1)), np.tile(wave[:, None], (1, 800))] * 2, -1)[..., :3]
    Image.fromarray(array).save(tmp_path / "x.jpg", quality=95)
    Image.fromarray(array).save(tmp_path / "x.png")
    quick, full = (read_photos([tmp_path / f"x.{s}"], 160).int() for s in ("jpg", "png"))
    difference = (quick - full).abs().double()
    assert 0 < difference.mean() < 2


def test_unreadable_files_are_named(tmp_path):
    good = save(tmp_path / "good.png", size=(50, 50))
    text = tmp_path / "text.png"
    text.write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.png cannot be read as an image: cannot identify"):
        read_photos([good, text])
    noise = tmp_path / "noise.png"
    Image.fromarray(pixels(50, 50, 3)).save(noise)
    cut = tmp_path / "cut.png"
    cut.write_bytes(noise.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cut\.png cannot be read as an image") as raised:
        read_photos([good, cut])
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"gone\.png cannot be read as an image"):
        read_photos([tmp_path / "gone.png"])


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_divided_by_257_and_rounded(tmp_path, suffix):
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
    expected = np.round(values / 257)
    images = read_photos([tmp_path / f"deep.{suffix}"])
    assert images.shape == (1, 1, 256, 256)
    np.testing.assert_array_equal(images[0, 0].numpy(), expected)
    colours = read_photos(
        [tmp_path / f"deep.{suffix}", save(tmp_path / "red.png", size=(256, 256))]
    )
    np.testing.assert_array_equal(colours[0].numpy(), np.stack([expected] * 3))


def test_sixteen_bits_with_the_high_byte_first(tmp_path):
    values = np.arange(0, 2**16, 257, dtype=">u2").reshape(16, 16)
    Image.frombytes("I;16B", (16, 16), values.tobytes()).save(tmp_path / "deep.tif")
    np.testing.assert_array_equal(
        read_photos([tmp_path / "deep.tif"])[0, 0].numpy(), np.arange(256).reshape(16, 16)
    )


def test_sixteen_bits_are_turned_and_resized_like_others(tmp_path):
    values = pixels(20, 30, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "deep.png", exif=exif)
    Image.fromarray(values).save(tmp_path / "plain.png", exif=exif)
    deep, plain = (read_photos([tmp_path / f"{name}.png"], 8) for name in ("deep", "plain"))
    assert torch.equal(deep, plain)


def test_integers_beyond_16_bits_are_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.full((4, 4), 2**16, dtype=np.int32)).save(tmp_path / "deeper.tif")
    with pytest.raises(ValueError, match=r"deeper\.tif .*from 65536 to 65536; expected 16 bits"):
        read_photos([tmp_path / "deeper.tif"])


def test_floats_are_refused_as_their_range_is_unknown(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "floats.tif")
    with pytest.raises(ValueError, match=r"floats\.tif has floats as pixels.*an \.npy file"):
        read_photos([tmp_path / "floats.tif"])


def test_a_size_below_one():
    with pytest.raises(ValueError, match="size is 0"):
        read_photos([], 0)


def test_a_class_has_one_number_in_all_parts(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "train/c/1.png", "test/b/1.png", "test/c/1.png"):
        save(tmp_path / name)
    assert find_photos(tmp_path, "train")[1].tolist() == [0, 1, 2]
    assert find_photos(tmp_path, "test")[1].tolist() == [1, 2]
    assert find_photos(tmp_path, "all")[1].tolist() == [0, 1, 2, 1, 2]


def photo(path, size=(6, 4), colour="red", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    photo(tmp_path / "elsewhere/dogs/1.png")
    photo(tmp_path / "data/cats/1.png")
    (tmp_path / "data/dogs").symlink_to(tmp_path / "elsewhere/dogs")
    (tmp_path / "data/cats/back").symlink_to(tmp_path / "data")
    (tmp_path / "elsewhere/dogs/again").symlink_to(tmp_path / "data/cats")
    paths, labels = find_photos(tmp_path / "data", "all")
    inside = [path.relative_to(tmp_path / "data").as_posix() for path in paths]
    assert {"cats/1.png", "dogs/1.png", "dogs/again/1.png"} <= set(inside)
    assert len(inside) == len(set(inside))
    assert set(labels) == {0, 1}


def test_files_of_other_endings_are_counted_in_one_line(tmp_path):
    photo(tmp_path / "1.png")
    for name in ("a.gif", "b.gif", "notes", ".hidden"):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"3 file\(s\) of other endings .*2 \.gif, 1 without") as w:
        paths, _ = find_photos(tmp_path, "all")
    assert len(paths) == 1
    assert len(w) == 1
    assert "\n" not in str(w[0].message)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_camera_says(tmp_path, orientation):
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:8, :16] = 255  # the top left is white
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    image.save(tmp_path / "turned.png", exif=exif)
    (read,) = read_photos([tmp_path / "turned.png"])
    # How the stored rows and columns lie in what is seen (EXIF 2.3, tag 274).
    seen = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }[orientation]
    np.testing.assert_array_equal(read.permute(1, 2, 0).numpy(), seen)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_data_do_not_hide_a_photograph(tmp_path):
    photo(tmp_path / "1.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert tuple(read_photos([tmp_path / "1.jpg"]).shape) == (1, 3, 4, 6)
