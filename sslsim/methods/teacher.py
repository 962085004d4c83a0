"""Teachers: exponential moving averages of a network, without gradients."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def teacher_of(student: Module) -> Module:
    """Copy of a network whose parameters require no gradient.

    Parameters
    ----------
    student : nn.Module
        Network at its initialisation.

    Returns
    -------
    nn.Module
        Deep copy. It stays in training mode, as in BYOL and DINO: its BatchNorms use the
        statistics of the batch.

    Examples
    --------
    >>> any(p.requires_grad for p in teacher_of(nn.Linear(2, 2)).parameters())
    False
    """
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move a teacher towards its student, ``momentum teacher + (1 - momentum) student``.

    Parameters
    ----------
    teacher : nn.Module
        Network whose parameters change in place. Running statistics of its BatchNorms do not.
    student : nn.Module
        Network of the same architecture; left as it is.
    momentum : float
        Momentum from 0 to 1; at 1 the teacher does not move.

    Raises
    ------
    ValueError
        If the numbers of parameters differ.

    Examples
    --------
    >>> teacher, student = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    >>> _ = teacher.weight.data.fill_(1.0), student.weight.data.fill_(3.0)
    >>> update_teacher(teacher, student, 0.75)
    >>> teacher.weight.item()
    1.5
    """
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)


def cosine_momentum(start: float, done: float) -> float:
    """Momentum of a teacher, rising from its start to 1 along half a cosine.

    Parameters
    ----------
    start : float
        Momentum at the beginning of the run, from 0 to 1; 0.996 in the papers.
    done : float
        Finished share of the run, in [0, 1].

    Returns
    -------
    float
        Momentum ``1 - (1 - start) (cos(pi done) + 1) / 2`` (arXiv 2006.07733, section 3.2).

    Raises
    ------
    ValueError
        If ``start`` is out of range.

    Examples
    --------
    >>> [round(cosine_momentum(0.996, done), 6) for done in (0.0, 0.5, 1.0)]
    [0.996, 0.998, 1.0]
    """
    if not 0 <= start <= 1:
        raise ValueError(f"momentum is {start}; expected a number from 0 to 1")
    return 1 - (1 - start) * (math.cos(math.pi * done) + 1) / 2
