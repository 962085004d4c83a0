"""Words for what was run, taken from the configurations that results carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

_NAMES = {
    "barlow_twins": "Barlow Twins",
    "simclr": "SimCLR",
    "vicreg": "VICReg",
    "byol": "BYOL",
    "simsiam": "SimSiam",
    "moco_v3": "MoCo v3",
    "swav": "SwAV",
    "dino": "DINO",
    "mae": "MAE",
    "mlp": "MLP",
    "vicregl": "VICRegL",
    "lejepa": "LeJEPA",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "stl10": "STL-10",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "imagenette2-96": "Imagenette",
}


def name_of(word: str) -> str:
    """A method, network or data set as readers know it.

    >>> [name_of(word) for word in ("barlow_twins", "imagenette2-96/train", "my_net")]
    ['Barlow Twins', 'Imagenette', 'my net']
    """
    parts = [part for part in word.split("/") if part not in ("train", "test", "val", "")]
    last = parts[-1] if parts else word
    return _NAMES.get(last, last.replace("_", " "))


def group_of(words: str) -> str:
    """A group of runs, by what they have in common, as readers know it.

    >>> group_of("simclr, fixed_views True")
    'SimCLR, fixed views'
    """
    said = {"fixed_views True": "fixed views", "fixed_views False": "fresh views"}
    return ", ".join(said.get(part, name_of(part)) for part in words.split(", "))


def number(value: float) -> str:
    """A number with a short exponent.

    >>> number(1e-6), number(0.5)
    ('1e-6', '0.5')
    """
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")


def percent(share: float) -> str:
    """A share in percent, with two digits or to the unit.

    >>> percent(0.00123), percent(2.871)
    ('0.12 %', '287 %')
    """
    return f"{100 * share:.2g} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def interval(estimate: Mapping[str, Any] | None, factor: float, digits: int, unit: str = "") -> str:
    """A change with its interval, if it has one.

    >>> interval({"mean": 0.25, "low": 0.125, "high": 0.5}, 100.0, 1, " points")
    '+25.0 points [12.5, 50.0]'
    >>> interval({"mean": -1e-9, "low": None, "high": None}, 1.0, 1)
    '0.0'
    """
    if estimate is None or estimate["mean"] is None:
        return "-"
    mean = _without_sign_of_zero(factor * estimate["mean"], digits)
    text = f"{mean:{'+' if mean else ''}.{digits}f}{unit}"
    if estimate["low"] is not None:
        low, high = (
            f"{_without_sign_of_zero(factor * estimate[end], digits):.{digits}f}"
            for end in ("low", "high")
        )
        text += f" [{low}, {high}]"
    return text.replace("-", "\N{MINUS SIGN}")


def _without_sign_of_zero(value: float, digits: int) -> float:
    return round(value, digits) + 0.0


def bracketed(mean: float, low: float, high: float, digits: int = 2) -> str:
    """A mean and its interval.

    >>> bracketed(0.25, 0.125, 0.5)
    '0.25 [0.12, 0.50]'
    """
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]".replace("-", "\N{MINUS SIGN}")


def listed(words: Iterable[Any]) -> str:
    """Words in a row, each once.

    >>> listed([0, 1, 2, 1]), listed(["digits"]), listed([])
    ('0, 1 and 2', 'digits', '')
    """
    row = list(dict.fromkeys(str(word) for word in words))
    return " and ".join([", ".join(row[:-1]), row[-1]]) if len(row) > 1 else "".join(row)


def seeds(numbers: Iterable[int]) -> str:
    """Seeds in words.

    >>> seeds([2, 0, 0]), seeds([1])
    ('seeds 0 and 2', 'seed 1')
    """
    row = sorted(set(numbers))
    return f"seed{'s' if len(row) > 1 else ''} {listed(row)}"


def device(configs: Sequence[Mapping[str, Any]]) -> str:
    """Where results were computed, as far as it is known.

    A GPU that is named under ``machine`` counts, then the option ``device``. A build of torch
    without CUDA knows only the CPU.

    >>> device([{"options": {"device": "auto"}, "versions": {"torch": "2.13.0+cpu"}}])
    'on a CPU'
    >>> device([{"options": {"device": "cuda"}}, {"options": {"device": "cpu"}}])
    'on an accelerator and on a CPU'
    """
    return listed(_device(config) for config in configs)


def _device(config: Mapping[str, Any]) -> str:
    asked = str(config.get("options", {}).get("device"))
    named = config.get("machine", {}).get("gpu")
    if "cpu" in str(config.get("versions", {}).get("torch", "")) or asked == "cpu":
        return "on a CPU"
    if named:
        return f"on {named}"
    return "on an accelerator" if asked not in ("None", "auto") else "on a device not recorded"


def training(config: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """What was trained, from a run's ``config.json`` and ``training.json``.

    >>> options = {"batch": 256, "lr": 0.001, "init_scale": 0.5, "seed": 0, "fixed_views": False}
    >>> result = {"method": "simclr", "encoder": "resnet18", "data": "cifar10", "views": "crops"}
    >>> result |= {"dim": 8, "train_images": 2000, "steps": 450}
    >>> print(training({"options": options}, result))
    SimCLR, ResNet-18, embeddings of 8 dimensions, 2,000 images of CIFAR-10, views by crops drawn
    anew at every update, batches of 256, learning rate 0.001, initial weights times 0.5, 450
    updates, seed 0
    """
    options = config["options"]
    network = name_of(result["encoder"])
    if options.get("widths"):
        network += f" of width {listed(options['widths'])}"
    similarity = options.get("similarity")
    views = "the same" if options.get("fixed_views") else "drawn anew"
    words = [
        name_of(result["method"]) + (" with dot products" if similarity == "dot" else ""),
        network,
        f"embeddings of {result['dim']} dimensions",
        f"{result['train_images']:,} images of {name_of(result['data'])}",
        f"views by {name_of(result['views'])} {views} at every update",
        f"batches of {min(options['batch'], result['train_images'])}",
        f"learning rate {number(options['lr'])}",
        f"initial weights times {number(options['init_scale'])}",
        f"{result['steps']:,} updates",
        seeds([options["seed"]]),
    ]
    return wrapped(", ".join(words))


def wrapped(text: str, width: int = 96) -> str:
    """A paragraph in lines.

    >>> print(wrapped("one two  three", 8))
    one two
    three
    """
    return fill(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)
