"""Spectra, ranks and steps of embeddings that any tool has stored: ``sslsim spectra FILE``.

The keys of ``spectra.json`` are explained in ``experiments/docs/spectra.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.options import SpectraOptions
from sslsim.core.checks import real_array
from sslsim.core.errors import first_line, reason
from sslsim.core.files import DAMAGE, read_npz, write_arrays, write_json
from sslsim.measures.trajectory import EmbeddingSpectra, embedding_spectra
from sslsim.runs.folder import check_folder, new_results
from sslsim.training.options import check_optimizer

_RESULTS = ("spectra.json", "spectra.npz", "spectra.png")
_METRICS = (
    *("effective_rank", "rank_me", "alpha_req", "coding_rate", "uniformity", "alignment", "lidar"),
)
_NAMES = {"z": ("z", "embeddings"), "z_prime": ("z_prime",), "steps": ("steps",)}
_NAMES["times"] = ("times",)
Array = NDArray[np.float64]


def spectra(options: SpectraOptions) -> Path:
    """Measure the embeddings of a file, and look for steps."""
    if options.lr is not None and not 0 < options.lr < math.inf:
        raise ValueError(f"lr is {options.lr}; expected a finite number above zero")
    check_optimizer("sgd", options.momentum, 0.0)
    if options.momentum and options.lr is None:
        raise ValueError(f"momentum is {options.momentum} without lr; expected lr as well")
    check_folder(options.out, "spectra", _RESULTS)
    stored = read_embeddings(options.file)
    steps, times, unit = _clock(stored, options)
    found = embedding_spectra(stored["z"], stored.get("z_prime"), times, spectrum=options.spectrum)
    with new_results(options.out, "spectra", options, results=_RESULTS) as folder:
        arrays = {
            "times": found.times,
            "covariance_spectrum": found.covariance_spectrum,
            "cross_spectrum": found.cross_spectrum,
            "steps": steps,
            **{name: getattr(found, name) for name in _METRICS},
        }
        known = {name: array for name, array in arrays.items() if array is not None}
        write_arrays(folder / "spectra.npz", **known)
        write_json(folder / "spectra.json", _result(found, stored, steps, unit, options))
    return options.out


def read_embeddings(path: Path) -> dict[str, Array]:
    """Read ``z``, and where there are any ``z_prime``, ``steps`` and ``times``, from a file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.npy"
    >>> np.save(path, np.zeros((2, 5, 4, 3)))
    >>> {name: array.shape for name, array in read_embeddings(path).items()}
    {'z': (5, 4, 3), 'z_prime': (5, 4, 3)}
    """
    kinds = {".npz": read_npz, ".npy": _read_npy, ".pt": _read_torch, ".pth": _read_torch}
    read = kinds.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"{path} is a file of another kind; expected .npz, .npy or .pt")
    content = read(path)  # type: ignore[operator]
    if not isinstance(content, Mapping):
        content = {"z": content}
    stored: dict[str, Array] = {}
    for name, spellings in _NAMES.items():
        for spelling in spellings:
            if spelling in content:
                stored.setdefault(name, _numbers(path, spelling, content[spelling]))
    if "z" not in stored and len(content) == 1:
        ((name, only),) = content.items()
        stored = {"z": _numbers(path, name, only)}
    if "z" not in stored:
        held = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise ValueError(f"{path} holds {held}; expected z, embeddings of shape (T, n, d)")
    if stored["z"].ndim == 4 and "z_prime" not in stored and len(stored["z"]) == 2:
        stored["z"], stored["z_prime"] = stored["z"]
    return stored


def _numbers(path: Path, name: str, value: Any) -> Array:
    if isinstance(value, (list, tuple)):
        shapes = {tuple(np.shape(part)) for part in value}
        if len(shapes) > 1:
            raise ValueError(f"{path}: {name} holds parts of different shapes; expected one shape")
        value = np.stack([np.asarray(part) for part in value]) if value else np.zeros(0)
    if isinstance(value, torch.Tensor):
        value = value.detach()
        value = (value if value.is_complex() else value.double()).cpu().numpy()
    array = np.asarray(value)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise ValueError(f"{path}: {name} is {array.dtype}; expected numbers")
    return real_array(name, array)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            array: NDArray[Any] = np.load(file, allow_pickle=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable .npy file: {first_line(error)}") from error
    return array


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    except Exception as error:  # damage shows in many ways: pickle, zip, key
        raise ValueError(
            f"{path} is not a readable file of torch.save; expected a tensor or a dictionary of "
            "tensors"
        ) from error


def _clock(
    stored: Mapping[str, Array], options: SpectraOptions
) -> tuple[Array | None, Array | None, str]:
    """Updates, times and the unit of the times."""
    steps, times = stored.get("steps"), stored.get("times")
    if options.lr is not None:
        if steps is None:
            raise ValueError(
                f"lr is {options.lr}, and {options.file} holds no steps; expected some"
            )
        return steps, steps * options.lr / (1 - options.momentum), "flow time"
    if times is not None:
        return steps, times, "times of the file"
    return (steps, steps, "updates") if steps is not None else (None, None, "places in the file")


def _result(
    found: EmbeddingSpectra,
    stored: Mapping[str, Array],
    steps: Array | None,
    unit: str,
    options: SpectraOptions,
) -> dict[str, Any]:
    metrics = {name: getattr(found, name) for name in _METRICS}
    known = {name: values for name, values in metrics.items() if values is not None}
    detected = found.detected
    iterations = None
    if steps is not None:
        finite = np.where(detected.detected, detected.times, found.times[-1])
        at_steps = np.interp(finite, found.times, steps)
        iterations = np.where(detected.detected, at_steps, np.inf)
    return {
        "file": options.file.name,
        "views": 1 if found.cross_spectrum is None else 2,
        "snapshots": len(found.times),
        "samples": stored["z"].shape[1],
        "dim": stored["z"].shape[2],
        "spectrum": found.spectrum,
        "unit": unit,
        "step_times": detected.times,
        "step_standard_errors": detected.standard_errors,
        "step_heights": detected.heights,
        "step_iterations": iterations,
        "detected_steps": int(detected.detected.sum()),
        "first": {name: values[0] for name, values in known.items()},
        "last": {name: values[-1] for name, values in known.items()},
        "collapsed": found.collapsed[-1],
        "times": found.times,
        **known,
    }
