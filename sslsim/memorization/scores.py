"""SSLMem scores: how much better encoders align what they were trained on (2401.12233)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from sslsim.core.checks import real_tensor
from sslsim.core.names import FORMS
from sslsim.data.own_views import Kind
from sslsim.encoders.checks import architecture
from sslsim.memorization.alignment import alignment_losses
from sslsim.memorization.represent import representations


@dataclass(frozen=True, eq=False)
class Memorization:
    """Memorisation scores of n points.

    Attributes
    ----------
    scores : Tensor of float64, shape (n,)
        High for points that f aligns better than g.
    standard_error : Tensor of float64, shape (n,)
        Over the encoders of both families; NaN where a family has one encoder only.
    f_mean, g_mean : Tensor of float64, shape (n,)
        Mean alignment losses over each family.
    form : {"raw", "ratio"}
        What ``scores`` are.
    """

    scores: torch.Tensor
    standard_error: torch.Tensor
    f_mean: torch.Tensor
    g_mean: torch.Tensor
    form: str


def ssl_mem(
    f_losses: torch.Tensor | ArrayLike, g_losses: torch.Tensor | ArrayLike, form: str = "raw"
) -> Memorization:
    """SSLMem scores from the alignment losses of two families of encoders.

    Parameters
    ----------
    f_losses : Tensor or array_like, shape (families, n) or (n,)
        Alignment losses under the encoders trained with the points, one encoder a row.
    g_losses : Tensor or array_like, shape (families, n) or (n,)
        Under those trained without them; the number of encoders may differ.
    form : {"raw", "ratio"}
        ``g - f`` of the families' means, in the unit of the losses, or ``(g - f) / (g + f)``, in
        [-1, 1] and free of that unit; 0 / 0 is 0.

    Returns
    -------
    Memorization

    Raises
    ------
    ValueError
        If the numbers of points differ or are zero, a loss is negative, NaN or infinite, or the
        form is unknown.

    Notes
    -----
    m(x) = E_g L_align(g, x) - E_f L_align(f, x) (2401.12233, section 3.2). The standard error of
    the ratio is that of its linearisation in the two means.

    Examples
    --------
    >>> found = ssl_mem([[0.25, 0.5], [0.75, 0.5]], [1.5, 0.5], form="ratio")
    >>> found.scores.tolist(), found.f_mean.tolist()
    ([0.5, 0.0], [0.5, 0.5])
    """
    f, g = check_losses("f_losses", f_losses), check_losses("g_losses", g_losses)
    if f.shape[1] != g.shape[1]:
        raise ValueError(
            f"f_losses holds {f.shape[1]} points and g_losses {g.shape[1]}; expected the same"
        )
    f_mean, g_mean = f.mean(dim=0), g.mean(dim=0)
    f_var, g_var = _variance_of_mean(f), _variance_of_mean(g)
    return scored(torch.zeros_like(f_mean), f_mean, g_mean, f_var, g_var, form)


def scored(
    base: torch.Tensor,
    f_above: torch.Tensor,
    g_above: torch.Tensor,
    f_var: torch.Tensor,
    g_var: torch.Tensor,
    form: str,
) -> Memorization:
    """SSLMem scores from the means of two families and the variances of these means.

    Parameters
    ----------
    base : Tensor of float64, shape (n,)
        What both means are counted from.
    f_above, g_above : Tensor of float64, shape (n,)
        Mean alignment losses over each family, less the base.
    f_var, g_var : Tensor of float64, shape (n,)
        Variances of these means.
    form : {"raw", "ratio"}
        As for :func:`ssl_mem`.

    Returns
    -------
    Memorization

    Raises
    ------
    ValueError
        If the form is unknown.

    Examples
    --------
    >>> none, one = torch.zeros(1), torch.ones(1)
    >>> scored(one, none, 2 * one, none, one, "ratio").scores.tolist()  # (3 - 1) / (3 + 1)
    [0.5]
    """
    if form not in FORMS:
        raise ValueError(f"form is {form!r}; expected one of {', '.join(FORMS)}")
    f_mean, g_mean = base + f_above, base + g_above
    scores, error = g_above - f_above, (f_var + g_var).sqrt()
    if form == "ratio":
        total = f_mean + g_mean
        total = torch.where(total == 0, 1.0, total)
        # Shares first: the squares of tiny losses would underflow.
        scores, f_share, g_share = scores / total, f_mean / total, g_mean / total
        error = 2 * (g_share**2 * f_var + f_share**2 * g_var).sqrt() / total
    return Memorization(scores, error, f_mean, g_mean, form)


def score_encoders(
    f: Sequence[nn.Module],
    g: Sequence[nn.Module],
    images: torch.Tensor,
    kind: Kind,
    *,
    layer: str | None = None,
    form: str = "raw",
    **options: Any,
) -> Memorization:
    """SSLMem scores of images under two families of encoders, which see the same views.

    Parameters
    ----------
    f, g : sequence of Module
        Encoders trained with the images and without them, of one architecture.
    images, kind
        As for :func:`sslsim.memorization.alignment.alignment_losses`.
    layer : str, optional
        As for :func:`sslsim.memorization.alignment.alignment_loss`.
    form : {"raw", "ratio"}
        Of :func:`ssl_mem`.
    **options
        Further ones of :func:`sslsim.memorization.alignment.alignment_losses`.

    Returns
    -------
    Memorization

    Raises
    ------
    ValueError
        If a family is empty, two encoders differ in architecture, or as the functions named.

    Examples
    --------
    >>> images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    >>> f = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    >>> score_encoders([f], [f], images, "crops").scores.tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0]
    """
    same_architecture(f, g)
    represent = representations([*f, *g], None if layer is None else [layer])
    losses = torch.stack(
        [loss.mean for loss in alignment_losses(represent, images, kind, **options)]
    )
    return ssl_mem(losses[: len(f)], losses[len(f) :], form)


def same_architecture(f: Sequence[nn.Module], g: Sequence[nn.Module]) -> None:
    """Refuse families of encoders that are not all of one architecture.

    Parameters
    ----------
    f, g : sequence of Module
        Encoders trained with the images and without them.

    Raises
    ------
    ValueError
        If a family is empty, or two encoders differ in the kinds of their modules or the shapes of
        their tensors; the first that does is named.

    Examples
    --------
    >>> same_architecture([nn.Linear(4, 2)], [nn.Linear(4, 3)])
    Traceback (most recent call last):
    ValueError: g[0] and f[0] are of different architectures, from 'bias' on; expected the same
    """
    if not f or not g:
        raise ValueError(f"{len(f)} encoders f and {len(g)} g were given; expected at least one")
    first = architecture(f[0])
    for name, family in (("f", f), ("g", g)):
        for i, encoder in enumerate(family):
            if differs := architecture(encoder) ^ first:
                raise ValueError(
                    f"{name}[{i}] and f[0] are of different architectures, from "
                    f"{min(differs)[0] or 'the whole'!r} on; expected the same"
                )


def looks_swapped(
    scores: torch.Tensor | ArrayLike, candidates: ArrayLike, independent: ArrayLike
) -> bool:
    """Whether f and g seem to have been given in each other's place.

    Parameters
    ----------
    scores : Tensor or array_like, shape (n,) or (pairs, n)
        Of one or more pairs of encoders (f, g).
    candidates, independent : array_like of int
        Places of the points that only f was trained on (S_C), and only g (S_I): two each at least.

    Returns
    -------
    bool
        True if S_C lies below S_I in every pair, by four standard errors or more over the points of
        all. Candidates can only lie above where f was trained on them and g was not.

    Raises
    ------
    ValueError
        If a set has fewer than two points or the scores are not finite.

    Examples
    --------
    >>> looks_swapped([0.9, 1.0, 0.1, 0.0], [2, 3], [0, 1])
    True
    """
    table = torch.atleast_2d(real_tensor("scores", scores))
    if not bool(torch.isfinite(table).all()):
        raise ValueError("scores holds NaN or infinite values; expected finite numbers")
    sets = [table[:, torch.as_tensor(places)] for places in (candidates, independent)]
    if min(part.shape[1] for part in sets) < 2:
        raise ValueError(
            f"{sets[0].shape[1]} candidates and {sets[1].shape[1]} independent points were given; "
            "expected at least 2 each"
        )
    above = sets[0].mean(dim=1) - sets[1].mean(dim=1)
    noise = sum(part.var(dim=1) / part.shape[1] for part in sets)
    spread = torch.as_tensor(noise).mean().sqrt() / len(table) ** 0.5
    return bool((above < 0).all() and above.mean() < -4 * spread)


def check_losses(name: str, value: torch.Tensor | ArrayLike) -> torch.Tensor:
    """Return alignment losses as a table after a check of their values.

    Parameters
    ----------
    name : str
        How the caller calls them; it opens the error message.
    value : Tensor or array_like, shape (families, n) or (n,)
        One encoder a row.

    Returns
    -------
    Tensor of float64, shape (families, n)

    Raises
    ------
    ValueError
        If there are none, or one is negative, NaN or infinite.

    Examples
    --------
    >>> check_losses("f_losses", [0.5, 1.0])
    tensor([[0.5000, 1.0000]], dtype=torch.float64)
    """
    losses = real_tensor(name, value)
    if losses.ndim not in (1, 2) or losses.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(losses.shape)}; expected (families, n) or (n,), none zero"
        )
    if not bool(torch.isfinite(losses).all()):
        raise ValueError(f"{name} holds NaN or infinite values; expected finite alignment losses")
    if losses.min() < 0:
        raise ValueError(f"{name} holds {losses.min():.3g}; expected distances, none negative")
    return torch.atleast_2d(losses)


def _variance_of_mean(losses: torch.Tensor) -> torch.Tensor:
    families = len(losses)
    if families == 1:
        return torch.full_like(losses[0], torch.nan)
    return losses.var(dim=0) / families
