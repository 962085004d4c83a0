"""Weights of a run's checkpoints: which there are, and how they are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from sslsim.core.checkpoints import checkpoints, load_checkpoint
from sslsim.methods.learner import Learner


def kept_steps(run: Path) -> list[int]:
    """Updates after which a run's network can be had.

    Parameters
    ----------
    run : Path
        Folder of ``sslsim train``.

    Returns
    -------
    list of int
        Ascending; 0, the initialisation, follows from the run's options and is always there.

    Examples
    --------
    >>> kept_steps(Path("nowhere"))
    [0]
    """
    paths = checkpoints(run / "checkpoints")
    return sorted({0, *(int(path.stem.removeprefix("checkpoint-")) for path in paths)})


def spread_steps(steps: Sequence[int], count: int) -> list[int]:
    """Choose checkpoints: half evenly over those that there are, half evenly in their logarithm.

    Parameters
    ----------
    steps : sequence of int
        Updates at the checkpoints, ascending; the first and the last are always chosen.
    count : int
        How many to choose, about; all where there are fewer.

    Returns
    -------
    list of int
        Ascending.

    Examples
    --------
    >>> spread_steps(range(0, 1001, 10), 6)
    [0, 10, 50, 220, 500, 1000]
    >>> spread_steps([0, 500, 900], 6)
    [0, 500, 900]
    """
    last = len(steps) - 1
    if count > last:
        return list(steps)
    even = np.linspace(0, last, max(count - count // 2, 2))
    logarithmic = np.geomspace(1, last, count // 2 + 1)[:-1] if count > 2 else even[:0]
    places = np.unique(np.rint(np.concatenate([even, logarithmic])).astype(int))
    return [steps[place] for place in places]


def check_different(name: str, folders: Sequence[Path]) -> None:
    """Refuse folders of which two are the same: what comes of one would count twice.

    Links and other spellings of a path are the same folder.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(
            f"{name} holds a folder twice: {' '.join(map(str, folders))}; expected different "
            "folders"
        )


def load_weights(learner: Learner, path: Path) -> None:
    """Load a checkpoint into the learner that the options of its run describe.

    Raises ValueError if it is damaged or the checkpoint of another network.
    """
    state = load_checkpoint(path, torch.device("cpu")).get("learner")
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds no learner; expected a checkpoint of sslsim train")
    for key, value in learner.state_dict().items():
        shapes = [
            tuple(part.shape) if part is not None else None for part in (state.get(key), value)
        ]
        if shapes[0] != shapes[1]:
            fault = "is missing" if shapes[0] is None else f"is {shapes[0]}"
            raise ValueError(
                f"{path} is of another network: {key!r} {fault}; expected {shapes[1]}, as "
                "config.json beside it says"
            )
    if other := [key for key in state if key not in learner.state_dict()]:
        raise ValueError(f"{path} is of another network: it holds {other[0]!r}, which is not there")
    learner.load_state_dict(dict(state))


def momentum_velocity(
    learner: Learner, run: Path, step: int, momentum: float
) -> list[torch.Tensor]:
    """Velocities of an encoder's parameters at a checkpoint, by the buffers of SGD with momentum.

    Parameters
    ----------
    learner : Learner
        The learner of the run, for its parameters.
    run : Path
        Run folder.
    step : int
        Updates at the checkpoint.
    momentum : float
        Momentum mu of the run.

    Returns
    -------
    list of Tensor
        ``-(1 - mu) buffer`` for each parameter of the encoder that requires a gradient, in flow
        time (learning rate x update / (1 - mu)); zeros where there is no buffer.

    Raises
    ------
    ValueError
        If the checkpoint is damaged or holds no optimiser.
    """
    path = run / "checkpoints" / f"checkpoint-{step:09d}.pt"
    optimizer = load_checkpoint(path, torch.device("cpu")).get("optimizer")
    if not isinstance(optimizer, Mapping) or not isinstance(optimizer.get("state"), Mapping):
        raise ValueError(f"{path} holds no optimiser; expected a checkpoint of sslsim train")
    state = optimizer["state"]
    moving = [(name, p) for name, p in learner.named_parameters() if p.requires_grad]
    velocities = []
    for place, (name, parameter) in enumerate(moving):
        if not name.startswith("encoder."):
            continue
        buffer = state.get(place, {}).get("momentum_buffer")
        if buffer is None:
            buffer = torch.zeros_like(parameter)
        if buffer.shape != parameter.shape:
            raise ValueError(
                f"{path}: the buffer of {name!r} is {tuple(buffer.shape)}; expected "
                f"{tuple(parameter.shape)}"
            )
        velocities.append(-(1 - momentum) * buffer.double())
    return velocities
