"""Points in the order of their scores, and what is left when some are removed."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike

from sslsim.core.checks import real_tensor
from sslsim.core.seeds import derived_generator

WHICH = ("most", "least", "random")

_REMOVED = 13  # purpose of the draw of points to remove


def rank_points(scores: torch.Tensor | ArrayLike) -> torch.Tensor:
    """Places of points from the highest score to the lowest.

    Parameters
    ----------
    scores : Tensor or array_like, shape (n,)
        Memorisation scores.

    Returns
    -------
    Tensor of int64, shape (n,)
        Equal scores in the order of their places.

    Raises
    ------
    ValueError
        If there are no scores or one is NaN or infinite.

    Examples
    --------
    >>> rank_points([0.1, 0.3, 0.1, 0.2]).tolist()
    [1, 3, 0, 2]
    """
    values = torch.as_tensor(scores)
    real_tensor("scores", values)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"scores has shape {tuple(values.shape)}; expected (n,) with n above zero")
    if not bool(torch.isfinite(values).all()):
        raise ValueError("scores holds NaN or infinite values; expected finite numbers")
    return torch.argsort(values, descending=True, stable=True)


def most_memorized(scores: torch.Tensor | ArrayLike, k: int) -> torch.Tensor:
    """Places of the k points of the highest scores.

    Parameters
    ----------
    scores : Tensor or array_like, shape (n,)
        Memorisation scores.
    k : int
        How many, from 0 to n.

    Returns
    -------
    Tensor of int64, shape (k,)
        From the highest score on; of equal ones the earlier places.

    Raises
    ------
    ValueError
        If k is out of range, or as :func:`rank_points`.

    Examples
    --------
    >>> most_memorized([0.1, 0.3, 0.1, 0.2], 3).tolist()
    [1, 3, 0]
    """
    order = rank_points(scores)
    if type(k) is not int or not 0 <= k <= len(order):
        raise ValueError(f"k is {k!r}; expected a whole number from 0 to {len(order)}")
    return order[:k]


def remaining_points(
    scores: torch.Tensor | ArrayLike, k: int, which: str = "most", *, seed: int = 0
) -> torch.Tensor:
    """Places of the points left after k were removed.

    Parameters
    ----------
    scores : Tensor or array_like, shape (n,)
        Memorisation scores.
    k : int
        How many to remove, from 0 to n.
    which : {"most", "least", "random"}
        The highest scores, the lowest, or any: random choices of one seed are nested, as the
        others are.
    seed : int
        Seed of the random choice, at least 0.

    Returns
    -------
    Tensor of int64, shape (n - k,)
        Ascending.

    Raises
    ------
    ValueError
        If ``which`` is unknown, or as :func:`most_memorized`.

    Notes
    -----
    The removal study of 2401.12233, section 4.4.

    Examples
    --------
    >>> remaining_points([0.1, 0.3, 0.1, 0.2], 2).tolist()
    [0, 2]
    >>> remaining_points([0.1, 0.3, 0.1, 0.2], 1, "least").tolist()
    [0, 1, 3]
    """
    if which not in WHICH:
        raise ValueError(f"which is {which!r}; expected one of {', '.join(WHICH)}")
    order = most_memorized(scores, len(torch.as_tensor(scores)))
    if type(k) is not int or not 0 <= k <= len(order):
        raise ValueError(f"k is {k!r}; expected a whole number from 0 to {len(order)}")
    if which == "random":
        order = torch.randperm(len(order), generator=derived_generator(seed, _REMOVED, 0))
    elif which == "least":
        order = order.flip(0)
    return order[k:].sort().values


def chosen_points(
    scores: torch.Tensor | ArrayLike, k: int, which: str = "most", *, seed: int = 0
) -> torch.Tensor:
    """Places of k points chosen by their scores: those that :func:`remaining_points` leaves out.

    Parameters
    ----------
    scores, k, which, seed
        As for :func:`remaining_points`.

    Returns
    -------
    Tensor of int64, shape (k,)
        The most memorised ones from the highest score on, others ascending.

    Raises
    ------
    ValueError
        As :func:`remaining_points`.

    Examples
    --------
    >>> chosen_points([0.1, 0.3, 0.1, 0.2], 2).tolist()
    [1, 3]
    >>> chosen_points([0.1, 0.3, 0.1, 0.2], 2, "least").tolist()
    [0, 2]
    """
    if which == "most":
        return most_memorized(scores, k)
    rest = remaining_points(scores, k, which, seed=seed)
    left_out = torch.ones(len(rest) + k, dtype=torch.bool)
    left_out[rest] = False
    return left_out.nonzero()[:, 0]
