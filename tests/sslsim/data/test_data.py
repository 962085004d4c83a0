"""Data sets by name, folder and file, none of them downloaded."""

import pickle
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from sslsim.core.torchvision import torchvision
from sslsim.data.datasets import DATA_SETS, holds_pairs, load_images, load_pairs

datasets = torchvision.datasets


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_digits_are_the_default_and_are_split_in_order():
    train, test, whole = (load_images(split=s) for s in ("train", "test", "all"))
    assert train.name == "digits"
    assert train.images.shape == (1437, 1, 8, 8)
    assert test.images.shape == (360, 1, 8, 8)
    assert torch.equal(torch.cat([train.images, test.images]), whole.images)
    assert torch.equal(torch.cat([train.labels, test.labels]), whole.labels)
    assert whole.images.dtype == torch.uint8
    assert whole.labels.dtype == torch.int64
    raw = load_digits()
    assert np.array_equal(np.round(whole.images[:, 0].numpy() * (16 / 255)), raw.images)
    assert (whole.images.min(), whole.images.max()) == (0, 255)
    assert np.array_equal(whole.labels, raw.target)


def test_a_limit_spreads_over_the_data_set():
    whole = load_images(split="all")
    few = load_images(split="all", limit=7)
    places = [k * 1797 // 7 for k in range(7)]
    assert torch.equal(few.images, whole.images[places])
    assert torch.equal(few.labels, whole.labels[places])
    assert len(load_images(limit=10**6).images) == 1437


def fake_cifar10(root, monkeypatch, n=4):
    """The layout of CIFAR-10 with n images a batch, its checksums not looked at."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for k, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        batch = {"data": noise((n, 3072), seed=k), "labels": [k] * n}
        (folder / name).write_bytes(pickle.dumps(batch))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)


def test_cifar10_by_root_and_by_environment(tmp_path, monkeypatch):
    fake_cifar10(tmp_path / "here", monkeypatch)
    train = load_images("cifar10", tmp_path / "here")
    expected = np.concatenate([noise((4, 3072), seed=k) for k in range(5)]).reshape(20, 3, 32, 32)
    assert np.array_equal(train.images, expected)
    assert train.labels.tolist() == [k for k in range(5) for _ in range(4)]
    monkeypatch.setenv("SSLSIM_DATA", str(tmp_path / "here"))
    assert torch.equal(load_images("cifar10").images, train.images)
    test = load_images("cifar10", split="test")
    assert np.array_equal(test.images, noise((4, 3072), seed=5).reshape(4, 3, 32, 32))
    assert torch.equal(
        load_images("cifar10", split="all").images, torch.cat([train.images, test.images])
    )
    assert load_images("cifar10", split="all", limit=12).labels.tolist() == sorted([*range(6)] * 2)


def recorder(seen, found):
    def make(root, **options):
        seen.append((root, options))
        return found

    return make


@pytest.mark.parametrize(
    ("name", "kind"), [("cifar100", "CIFAR100"), ("fashion_mnist", "FashionMNIST")]
)
def test_other_sets_with_a_train_flag(tmp_path, monkeypatch, name, kind):
    class Found:
        data = noise((5, 4, 4, 3)) if kind == "CIFAR100" else torch.from_numpy(noise((5, 4, 4)))
        targets = (3, 1, 4, 1, 5)

    seen = []
    monkeypatch.setattr(datasets, kind, recorder(seen, Found))
    found = load_images(name, tmp_path, split="test")
    assert seen == [(str(tmp_path), {"download": False, "train": False})]
    assert found.labels.tolist() == [3, 1, 4, 1, 5]
    channels = np.asarray(Found.data).reshape(5, 4, 4, -1).transpose(0, 3, 1, 2)
    assert np.array_equal(found.images, channels)


def test_stl10_has_an_unlabelled_part(tmp_path, monkeypatch):
    class Found:
        data = noise((5, 3, 4, 4))
        labels = np.array([1, 2, 3, 4, 0], dtype=np.uint8)

    seen = []
    monkeypatch.setattr(datasets, "STL10", recorder(seen, Found))
    assert load_images("stl10", tmp_path, split="test").labels.tolist() == [1, 2, 3, 4, 0]
    unlabelled = load_images("stl10", tmp_path, split="unlabeled", limit=2)
    assert unlabelled.labels is None
    assert np.array_equal(unlabelled.images, Found.data[[0, 2]])
    assert [options["split"] for _, options in seen] == ["test", "unlabeled"]
    with pytest.raises(ValueError, match="expected one of train, test, all, unlabeled"):
        load_images("stl10", tmp_path, split="val")


def fake_imagenette(root):
    """The layout of Imagenette (160 px), images of two shapes."""
    for part, n in (("train", 3), ("val", 2)):
        for wnid in ("n01440764", "n02102040"):
            folder = root / "imagenette2-160" / part / wnid
            folder.mkdir(parents=True)
            for k in range(n):
                Image.new("RGB", (20 + k, 16), (100 * k, 0, 0)).save(folder / f"{k}.JPEG")


def test_imagenette_is_read_by_threads(tmp_path):
    fake_imagenette(tmp_path)
    train = load_images("imagenette", tmp_path, size=8)
    assert train.images.shape == (6, 3, 8, 8)
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert load_images("imagenette", tmp_path, split="test").images.shape == (4, 3, 96, 96)
    whole = load_images("imagenette", tmp_path, split="all", size=8)
    assert whole.labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    few = load_images("imagenette", tmp_path, limit=3, size=8)
    assert torch.equal(few.images, train.images[[0, 2, 4]])
    assert few.labels.tolist() == [0, 0, 1]


def test_the_default_root_is_made_and_a_failed_download_is_one_line(tmp_path, monkeypatch):
    asked = []

    def make(root, download, **options):
        asked.append(download)
        if download:
            raise urllib.error.URLError("no network\nhere")
        raise RuntimeError("Dataset not found. You can use download=True to download it")

    monkeypatch.setattr(datasets, "FashionMNIST", make)
    monkeypatch.setenv("SSLSIM_DATA", str(tmp_path / "deep" / "data"))
    with pytest.raises(
        ValueError, match=r"FashionMNIST is not in .*data and could not .*network"
    ) as e:
        load_images("fashion_mnist")
    assert "\n" not in str(e.value)
    assert asked == [False, True]
    assert (tmp_path / "deep" / "data").is_dir()
    monkeypatch.delenv("SSLSIM_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ValueError, match=r"home/\.cache/sslsim"):
        load_images("fashion_mnist")


def test_what_is_missing_is_downloaded(tmp_path, monkeypatch):
    class Found:
        data, targets = noise((2, 4, 4)), [0, 1]

    def make(root, download, **options):
        if not download:
            raise RuntimeError("Dataset not found")
        return Found

    monkeypatch.setattr(datasets, "FashionMNIST", make)
    assert load_images("fashion_mnist", tmp_path).images.shape == (2, 1, 4, 4)


def test_a_root_that_is_given_must_exist(tmp_path):
    with pytest.raises(ValueError, match=r"root .*typo is not a folder"):
        load_images("cifar10", tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_folders(tmp_path):
    for k, name in enumerate(("b", "a", "b", "a")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("L", (5, 5), 10 * k).save(tmp_path / name / f"{k}.png")
    found = load_images(tmp_path)
    assert found.name == str(tmp_path)
    assert found.images[:, 0, 0, 0].tolist() == [10, 30, 0, 20]
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert load_images(tmp_path, limit=2).images[:, 0, 0, 0].tolist() == [10, 0]
    assert load_images(tmp_path, size=3).images.shape == (4, 1, 3, 3)
    assert load_images(tmp_path / "a").labels is None
    with pytest.raises(ValueError, match="has no split 'test'"):
        load_images(tmp_path, split="test")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((4, 6, 5), None),
        ((4, 6, 5, 3), (0, 3, 1, 2)),
        ((4, 6, 5, 1), (0, 3, 1, 2)),
        ((4, 3, 6, 5), (0, 1, 2, 3)),
        ((4, 1, 6, 5), (0, 1, 2, 3)),
    ],
)
def test_images_of_a_file_in_any_layout(tmp_path, shape, axes):
    images, labels = noise(shape), np.array([3, 0, 2, 1], dtype=np.int32)
    expected = images[:, None] if axes is None else images.transpose(axes)
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    found = load_images(tmp_path / "x.npz")
    assert found.images.is_contiguous()
    assert np.array_equal(found.images, expected)
    assert found.labels.tolist() == [3, 0, 2, 1]
    assert found.labels.dtype == torch.int64
    np.savez_compressed(tmp_path / "y.npz", images=images.astype(np.float32) / 255)
    again = load_images(str(tmp_path / "y.npz"), split="all", limit=2)
    assert np.array_equal(again.images, expected[[0, 2]])
    assert again.labels is None


def image_file(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((3, 3)), "x_prime": np.ones((3, 3))}, "holds x, x_prime; expected images"),
        ({}, "holds nothing; expected images"),
        ({"images": np.full((2, 3, 3), np.nan)}, r"images holds 18 NaN"),
        ({"images": np.full((2, 3, 3), 1.5)}, r"from 1.5 to 1.5; expected floats in \[0, 1\]"),
        ({"images": np.full((2, 3, 3), -0.5)}, r"from -0.5 to -0.5"),
        (
            {"images": np.ones((2, 3, 3), dtype=np.int64)},
            "images are int64 from 1 to 1; expected integers up to 255",
        ),
        ({"images": np.ones((2, 3))}, r"shape \(2, 3\); expected \(n, h, w\)"),
        ({"images": np.ones((2, 4, 4, 4))}, r"shape \(2, 4, 4, 4\); expected"),
        ({"images": np.ones((2, 3, 4, 3))}, r"shape \(2, 3, 4, 3\); expected"),
        ({"images": np.ones((0, 4, 4))}, "at least one image"),
        ({"images": np.ones((2, 4, 4)), "labels": np.zeros(3, int)}, "expected 2 integers"),
        ({"images": np.ones((2, 4, 4)), "labels": np.zeros(2)}, "expected 2 integers"),
        ({"images": np.ones((2, 4, 4)), "labels": np.array([None, 1])}, "labels cannot be read"),
    ],
)
def test_files_of_images_that_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message) as raised:
        load_images(image_file(tmp_path / "x.npz", **arrays))
    assert str(raised.value).startswith(str(tmp_path / "x.npz"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_pairs_are_taken_as_they_are(tmp_path, dtype):
    x, x_prime = noise((4, 6)).astype(dtype), noise((4, 6), 1).astype(dtype)
    path = image_file(tmp_path / "x.npz", x=x, x_prime=x_prime)
    for found, saved in zip(load_pairs(path), (x, x_prime), strict=True):
        assert found.dtype == dtype
        assert np.array_equal(found, saved)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.ones((3, 3, 3))}, "holds images; expected .* or x and x_prime"),
        ({"x": np.ones((3, 3))}, "holds x; expected"),
        ({"x": np.ones((3, 3)), "x_prime": np.ones((3, 4))}, r"x_prime \(3, 4\)"),
        ({"x": np.ones(3), "x_prime": np.ones(3)}, r"x has shape \(3,\)"),
        ({"x": np.ones((1, 3)), "x_prime": np.ones((1, 3))}, "at least 2"),
        ({"x": np.ones((2, 3)), "x_prime": np.full((2, 3), np.inf)}, "x_prime holds 6 NaN or inf"),
        (
            {"x": np.ones((2, 3)), "x_prime": np.ones((2, 3)) * 1j},
            "x_prime is complex128; expected real",
        ),
    ],
)
def test_files_of_pairs_that_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        load_pairs(image_file(tmp_path / "x.npz", **arrays))


def test_holds_pairs(tmp_path):
    pairs = image_file(tmp_path / "p.npz", x=np.ones((2, 2)), x_prime=np.ones((2, 2)))
    images = image_file(tmp_path / "i.npz", images=np.ones((2, 2, 2)))
    (tmp_path / "folder.npz").mkdir()
    assert holds_pairs(pairs)
    assert not holds_pairs(str(images))
    assert not holds_pairs(tmp_path / "folder.npz")
    assert not any(holds_pairs(name) for name in DATA_SETS)


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(ValueError, match=r"x\.npz cannot be read: No such file"):
        load_images(path)
    for content in (b"", b"no zip", b"PK\x03\x04 cut short"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.npz is not a readable \.npz file"):
            load_pairs(path)
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="another kind of file"):
        holds_pairs(path)
    image_file(path, images=noise((10, 9, 9)))
    broken = bytearray(path.read_bytes())
    broken[400] ^= 255
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=r"x\.npz: images cannot be read"):
        load_images(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "cifar"},
            "unknown data set 'cifar', and no such folder; expected one of digits, cifar10, .*npz",
        ),
        ({"split": "val"}, "digits has no split 'val'; expected one of train, test, all"),
        ({"split": "unlabeled"}, "digits has no split"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": 1.5}, "limit is 1.5; expected a whole number above zero"),
        ({"limit": float("nan")}, "limit is nan"),
        ({"limit": True}, "limit is True"),
        ({"limit": "3"}, "limit is '3'"),
        ({"size": 2.5}, "size is 2.5"),
        ({"name": ""}, "name is ''; expected a data set"),
        ({"name": None}, "name is None"),
        (
            {"name": "photos/mine"},
            "no such folder or data set: photos/mine; expected one of digits",
        ),
        ({"name": "./mine"}, r"no such folder or data set: \./mine"),
        ({"name": __file__}, r"test_data\.py is a file of another kind; expected one of digits"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_images(**arguments)


def test_a_file_has_no_test_images(tmp_path):
    with pytest.raises(ValueError, match="no split 'test'"):
        load_images(image_file(tmp_path / "x.npz", images=noise((2, 4, 4))), split="test")


@pytest.mark.parametrize("size", [5, 8, 12])
def test_images_of_any_data_set_are_brought_to_a_size(tmp_path, size):
    assert load_images(limit=4, size=size).images.shape == (4, 1, size, size)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 10, 3), dtype=np.uint8)
    np.savez(tmp_path / "some.npz", images=pixels)
    for place, image in enumerate(pixels):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / f"{place}.png")
    from_file = load_images(tmp_path / "some.npz", size=size)
    assert torch.equal(from_file.images, load_images(tmp_path / "photos", size=size).images)


def test_images_that_have_the_size_stay_as_they_are():
    assert torch.equal(load_images(limit=9, size=8).images, load_images(limit=9).images)
