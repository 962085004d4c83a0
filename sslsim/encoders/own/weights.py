"""Weights as people save them: nested, with prefixes, beside optimisers, with heads left on."""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that torch.compile, DataParallel and others put into keys."""

_DEPTH = 4  # dictionaries inside each other
_NAMED = 6  # keys of one kind in a message
State = Mapping[str, Any]


def load_weights_file(network: nn.Module, path: Path) -> None:
    """Load weights into a network in place, wherever in a file they are.

    Parameters
    ----------
    network : nn.Module
        The network.
    path : Path
        File of ``torch.save`` or safetensors. The weights are looked for in nested dictionaries
        (``state_dict``, ``model``, ``teacher``, ...) and behind any prefix (``module.``,
        ``backbone.``, ``model.encoder.``, ...), and loaded if they are in one place only.
        ``FILE:NAME`` chooses the place whose name or prefix is NAME.

    Raises
    ------
    ValueError
        If the file cannot be read, more than one place fits, or none does; then keys that are
        missing, unexpected and of another shape are named.

    Warns
    -----
    UserWarning
        Keys that the network has no part for, such as those of a head.

    Notes
    -----
    Nothing in the file is run: pickled Python objects beside the weights are left out. Further keys
    are accepted where the network has no module of that name, or an ``nn.Identity`` in its place,
    and keys outside the prefix always.

    Examples
    --------
    >>> import tempfile
    >>> path, network = Path(tempfile.mkdtemp()) / "w.pt", nn.Linear(2, 1)
    >>> saved = {"module.weight": torch.ones(1, 2), "module.bias": torch.ones(1)}
    >>> torch.save({"model": saved, "epoch": 3}, path)
    >>> load_weights_file(network, path)
    >>> network(torch.ones(1, 2)).item()
    3.0
    """
    path, wanted_place = _file_and_place(path)
    content = _content(path)
    if isinstance(content, _Inert):
        raise ValueError(
            f"weights {path} hold a pickled Python object, such as a whole module, which is not "
            "loaded; expected a state dict, saved by torch.save(net.state_dict(), file)"
        )
    wanted = {key: value for key, value in network.state_dict().items() if not _is_extra(key)}
    attempts = [
        attempt
        for names, state in _states(content)
        for attempt in _attempts(network, wanted, names, state)
    ]
    if wanted_place is not None:
        known = sorted({attempt.place for attempt in attempts if attempt.place})
        attempts = [attempt for attempt in attempts if attempt.is_at(wanted_place)]
        if not attempts:
            raise ValueError(
                f"weights {path} hold nothing under {wanted_place!r}; expected one of "
                f"{', '.join(known) or 'no name'}"
            )
    if not attempts:
        raise ValueError(
            f"weights {path} hold a {type(content).__name__}; expected a state dict, saved by "
            "torch.save(net.state_dict(), file)"
        )
    fitting = [attempt for attempt in attempts if attempt.fits]
    exact = [attempt for attempt in fitting if not attempt.left_over]
    chosen = _different(exact or fitting)
    if len(chosen) > 1:
        places = " and ".join(attempt.place or "its first level" for attempt in chosen[:_NAMED])
        named = next(attempt.place for attempt in chosen if attempt.place)
        raise ValueError(
            f"weights {path} hold several that fit, under {places}; expected one, "
            f"chosen by {path}:{named}"
        )
    if not chosen:
        nearest = max(attempts, key=lambda attempt: (attempt.matching, -len(attempt.left_over)))
        raise ValueError(f"weights {path}{nearest.where} do not fit: {nearest.faults}")
    (best,) = chosen
    if best.left_over:
        warnings.warn(
            f"{len(best.left_over)} keys of {path} are not used: {_listed(best.left_over)}",
            stacklevel=2,
        )
    state = network.state_dict() | {key: best.state[key] for key in wanted if key in best.state}
    try:
        network.load_state_dict(state)
    except Exception as error:  # extra states are the module's own affair
        reason = " ".join(str(error).split())
        raise ValueError(f"weights {path}{best.where} do not fit: {reason}") from error


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A state dict in a file, with a prefix taken off, beside what a network wants."""

    network: nn.Module
    wanted: State
    names: tuple[str, ...]  # of the dictionaries around it
    prefix: str
    state: State  # keys behind the prefix
    outside: tuple[str, ...]  # keys without it

    @property
    def place(self) -> str:
        return ".".join([*self.names, *filter(None, [self.prefix.rstrip(".")])])

    @property
    def where(self) -> str:
        under = f" under {'.'.join(self.names)!r}" if self.names else ""
        return under + (f" without {self.prefix!r}" if self.prefix else "")

    def is_at(self, place: str) -> bool:
        return f".{place}." in f".{self.place}."

    @property
    def matching(self) -> int:
        return sum(_shape(self.state[key]) == _shape(v) for key, v in self._both)

    @property
    def _both(self) -> list[tuple[str, Any]]:
        return [(key, value) for key, value in self.wanted.items() if key in self.state]

    @property
    def missing(self) -> list[str]:
        """Keys that the network wants; a count of batches is its own where there is none."""
        return [
            key
            for key in self.wanted
            if key not in self.state and not key.endswith("num_batches_tracked")
        ]

    @property
    def misshapen(self) -> list[str]:
        return [
            f"{key!r} is {_shape(self.state[key])}, expected {_shape(value)}"
            for key, value in self._both
            if _shape(self.state[key]) != _shape(value)
        ]

    @property
    def unexpected(self) -> list[str]:
        return [key for key in self.state if key not in self.wanted and not _is_of_head(key, self)]

    @property
    def left_over(self) -> list[str]:
        """Keys that are not used, where all else fits."""
        inside = [self.prefix + key for key in self.state if key not in self.wanted]
        return [*inside, *self.outside]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.misshapen or self.unexpected)

    @property
    def faults(self) -> str:
        parts = {
            "missing": [repr(key) for key in self.missing],
            "unexpected": [repr(key) for key in self.unexpected],
            "of another shape": self.misshapen,
        }
        told = [f"{len(v)} {name} ({_listed(v)})" for name, v in parts.items() if v]
        if not self.matching:
            told.append(f"its keys begin with {', '.join(map(repr, list(self.state)[:2]))}")
        return "; ".join(told) + "; expected the keys and shapes of the network"


def _attempts(
    network: nn.Module, wanted: State, names: tuple[str, ...], state: State
) -> Iterator[_Attempt]:
    """Every prefix behind which a state dict has keys of the network."""
    clean = {_unwrapped(key, wanted): value for key, value in state.items()}
    shared = _shared_prefix(wanted)
    # Of a network whose own keys begin alike, weights may be those of the part.
    for own in dict.fromkeys(["", shared]):
        part = {key.removeprefix(own): key for key in wanted}
        counts: Counter[str] = Counter()
        for key in clean:
            pieces = key.split(".")
            for i in range(len(pieces)):
                if ".".join(pieces[i:]) in part:
                    counts["".join(f"{piece}." for piece in pieces[:i])] += 1
        most = max(counts.values(), default=0)
        if not most and own:
            continue
        for prefix in [p for p, count in counts.items() if 2 * count > most] or [""]:
            inside = {
                own + key.removeprefix(prefix): value
                for key, value in clean.items()
                if key.startswith(prefix)
            }
            outside = tuple(key for key in clean if not key.startswith(prefix))
            yield _Attempt(network, wanted, names, prefix, inside, outside)


def _is_of_head(key: str, attempt: _Attempt) -> bool:
    """Whether a key belongs to a named module that the network lacks, or has as an identity."""
    pieces = key.split(".")
    for i in range(1, len(pieces)):
        path = ".".join(pieces[:i])
        try:
            part = attempt.network.get_submodule(path)
        except AttributeError:
            return not pieces[i - 1].isdecimal()
        if isinstance(part, nn.Identity):
            return True
    return False


def _unwrapped(key: str, wanted: State) -> str:
    """A key without what wrappers put into it, unless the network's own keys have it."""
    pieces = [piece for piece in key.split(".") if piece not in WRAPPERS]
    own = any(piece in WRAPPERS for name in wanted for piece in name.split("."))
    return key if own else ".".join(pieces)


def _shared_prefix(wanted: State) -> str:
    first = {key.partition(".")[0] for key in wanted}
    return f"{first.pop()}." if len(first) == 1 and all("." in key for key in wanted) else ""


def _different(attempts: Sequence[_Attempt]) -> list[_Attempt]:
    """Attempts without those that would load the same numbers."""
    chosen: list[_Attempt] = []
    for attempt in attempts:
        if not any(_same_numbers(attempt, other) for other in chosen):
            chosen.append(attempt)
    return chosen


def _same_numbers(first: _Attempt, second: _Attempt) -> bool:
    return all(
        key in first.state and key in second.state
        and torch.equal(first.state[key], second.state[key])
        for key in first.wanted
    )  # fmt: skip


def _states(
    content: object, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], State]]:
    """State dicts in what a file holds, with the names of the dictionaries around them."""
    if not isinstance(content, Mapping) or len(names) > _DEPTH:
        return
    if any(isinstance(value, torch.Tensor) for value in content.values()):
        yield names, {key: v for key, v in content.items() if isinstance(key, str)}
        return
    for key, value in content.items():
        if isinstance(key, str) and key not in ("optimizer", "optimizer_states"):
            yield from _states(value, (*names, key))


class _Inert:
    """Stands for a pickled object of any class: it takes what it is given and does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _content(path: Path) -> object:
    """Content of a file, without running any code that it holds."""
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"weights {path} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        if "Unsupported global" not in str(error) and "Unsupported class" not in str(error):
            raise ValueError(f"weights {path} are no file of torch.save, or damaged") from error
        return _without_objects(path)
    except ValueError:
        raise
    except Exception as error:  # damage shows in many ways: pickle, zip, key
        reason = str(error).split("\n")[0]
        raise ValueError(f"weights {path} are no file of torch.save: {reason}") from error


def _without_objects(path: Path) -> object:
    """Content of a file with pickled objects, such as options, beside the weights."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stubs = [(type("Inert", (_Inert,), {}), name) for name in names]
        with torch.serialization.safe_globals(stubs):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what an object is rebuilt by may be anything
        raise ValueError(
            f"weights {path} hold pickled Python objects, which are not loaded; expected a state "
            "dict, saved by torch.save(net.state_dict(), file)"
        ) from error


def _safetensors(path: Path) -> object:
    try:
        library = import_module("safetensors.torch")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"weights {path} need safetensors, which is not installed; expected it, by "
            "pip install 'sslsim[networks]'"
        ) from error
    return library.load_file(path)


def _file_and_place(path: Path) -> tuple[Path, str | None]:
    """FILE:NAME in its parts, where there is no file of that whole name."""
    file, colon, place = str(path).rpartition(":")
    return (
        (Path(file), place) if colon and not path.exists() and Path(file).exists() else (path, None)
    )


def _is_extra(key: str) -> bool:
    return key.endswith("_extra_state")


def _shape(value: object) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more
