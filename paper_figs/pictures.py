"""Pictures of the gallery from stored results, small enough to lie beside the pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
from PIL import Image, PngImagePlugin

from paper_figs.runs.acceleration import draw_acceleration
from paper_figs.runs.forecast import draw_forecast
from paper_figs.runs.linear import draw_comparison, draw_width_errors
from paper_figs.runs.memorization.modes import draw_modes as draw_memorising_modes
from paper_figs.runs.memorization.scores import draw_memorization
from paper_figs.runs.modes import draw_meaning, draw_overlap
from paper_figs.runs.overfitting import draw_overfitting
from paper_figs.runs.training import draw_run
from paper_figs.runs.umm import draw_sweep
from sslsim.core.files import whole_file

GALLERY = Path(__file__).resolve().parent / "gallery"
PICTURES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "acceleration": ("acceleration/convnet", draw_acceleration),
    "comparison": ("linear/digits_1e-3_0", draw_comparison),
    "convnet": ("convnet", draw_run),
    "forecast": ("forecast", draw_forecast),
    "memorization": ("memorization/resnet18", draw_memorization),
    "memorization_split": ("memorization/split", draw_memorization),
    "mode_overlap": ("modes/methods", draw_overlap),
    "modes": ("modes/cifar10", draw_meaning),
    "modes_fixed": ("memorization_modes/fixed", draw_memorising_modes),
    "modes_resnet18": ("memorization_modes/resnet18", draw_memorising_modes),
    "overfitting": ("overfitting", draw_overfitting),
    "umm_sweep": ("umm_sweep", draw_sweep),
    "wide": ("wide", draw_width_errors),
}
"""The stored result that a picture is drawn of, and what draws it into a run folder."""

_COLOURS = 128  # of a small picture


def draw_picture(name: str, results: Path, out: Path) -> Path:
    """Draw a picture of a run folder into another folder.

    >>> draw_picture("convnet", Path("nowhere"), Path("."))
    Traceback (most recent call last):
    ValueError: nowhere/convnet is missing; expected the result that convnet.png is drawn of
    """
    result, draw = PICTURES[name]
    folder = Path(results) / result
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing; expected the result that {name}.png is drawn of")
    with TemporaryDirectory() as temporary:
        copy = shutil.copytree(folder, Path(temporary) / folder.name)
        return shrink(draw(copy), Path(out) / f"{name}.png")


def shrink(path: Path, to: Path) -> Path:
    """Write a PNG again with few colours; it tells what drew it, on which its bytes depend."""
    told = PngImagePlugin.PngInfo()
    told.add_text("Software", drawn_by())
    with Image.open(path) as picture, whole_file(to) as file:
        few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        few.save(file, format="PNG", optimize=True, pnginfo=told)
    return to


def drawn_by() -> str:
    """What the bytes of a picture depend on."""
    return f"matplotlib {mpl.__version__}, Pillow {version('pillow')}"
