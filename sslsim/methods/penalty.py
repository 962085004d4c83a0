"""The alignment penalty: training that pays for the distance between two views of an image.

Memorisation shows in an image's views being aligned better by an encoder that was trained on it. A
penalty on that very distance, of all images, leaves less to differ; of chosen images it aligns
these, and below zero it undoes the alignment of images that were learned by heart.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from sslsim.core.distributed import gather
from sslsim.core.unit_rows import unit_rows
from sslsim.data.views import Views
from sslsim.methods.learner import Learner


class AlignmentPenalty(Learner):
    r"""A learner whose loss has strength x mean ||f(x') - f(x'')|| added.

    f is the representation (the output of the backbone), of unit norm, of the two full views that
    the method embeds anyway: nothing passes through the network twice.

    Parameters
    ----------
    learner : Learner
        Any method that embeds two full views of every image by its encoder: not mae, and not
        supervised.
    strength : float
        0 leaves the loss as it is, bit by bit; below it views are pushed apart. The distance is at
        most 2: so is what a strength of one can take from the loss.
    chosen : bool
        Labels are no classes but flags (bool), true for images that pay: the mean is over those of
        them in the batch, and 0 where there are none.

    Raises
    ------
    ValueError
        If the strength is no finite number; in the call, if the method does not embed
        two views of every image, or labels are no flags where such are expected.

    Notes
    -----
    The distance of arXiv 2401.12233, section 3, that its alignment loss is the mean of. It is not
    differentiable where both views have one representation; the gradient is 0 there.

    Examples
    --------
    >>> from sslsim.methods.build import build_learner
    >>> inner = build_learner("simclr", (1, 8, 8), 4, encoder="convnet", seed=0)
    >>> pair = Views((torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)), None)
    >>> plain, more = (AlignmentPenalty(inner, s)(pair, None) for s in (0.0, 1.0))
    >>> bool(plain == inner(pair, None)), bool(more > plain)
    (True, True)
    """

    def __init__(self, learner: Learner, strength: float, *, chosen: bool = False) -> None:
        super().__init__(learner.encoder)
        check_strength(strength)
        self.learner = learner
        self.strength = strength
        self.chosen = chosen
        self.views = learner.views

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the global batch and the penalty."""
        labels_of_method = None if self.chosen else labels
        if self.strength == 0:
            return self.learner(batch, labels_of_method)
        representations: list[torch.Tensor] = []

        def note(module: nn.Module, inputs: Any) -> None:
            representations.append(inputs[0])

        # At the projector: not every method calls the backbone as a whole.
        hook = self.encoder.projector.register_forward_pre_hook(note)
        try:
            loss = self.learner(batch, labels_of_method)
        finally:
            hook.remove()
        rows = len(batch.views[0])
        pays = _flags(labels, rows) if self.chosen else None
        with torch.autocast(loss.device.type, enabled=False):
            z = _two_views(representations, rows)
            first, second = z.to(torch.promote_types(z.dtype, torch.float32)).split(rows)
            return loss + self.strength * alignment_penalty(first, second, pays)

    def after_step(self, done: float) -> None:
        """As the learner within."""
        self.learner.after_step(done)


def alignment_penalty(
    z: torch.Tensor, z_prime: torch.Tensor, pays: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean distance of the two views' representations, brought to unit norm.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Representations of the two views of the rows of this process, samples in rows.
    pays : Tensor of bool, shape (n,), optional
        Which images count. Default: all.

    Returns
    -------
    Tensor, shape ()
        Over the global batch, from 0 to 2, differentiable; 0 if no image counts.

    Notes
    -----
    arXiv 2401.12233, section 3.

    Examples
    --------
    >>> z, z_prime = torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 3.0], [4.0, 0.0]])
    >>> flags = torch.tensor([True, False])
    >>> round(alignment_penalty(z, z_prime).item(), 4), alignment_penalty(z, z_prime, flags).item()
    (0.7071, 1.4142135381698608)
    """
    # Of this norm the gradient at zero is 0, of the root of a sum of squares it would be NaN.
    apart = gather(torch.linalg.vector_norm(unit_rows(z) - unit_rows(z_prime), dim=1))
    if pays is None:
        return apart.mean()
    counted = gather(pays.to(apart.dtype))
    return (apart * counted).sum() / counted.sum().clamp(min=1)


def check_strength(strength: float) -> None:
    """Refuse what is no weight of a penalty.

    Parameters
    ----------
    strength : float
        To be finite.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> check_strength(float("inf"))
    Traceback (most recent call last):
    ValueError: strength is inf; expected a finite number
    """
    if not math.isfinite(strength):
        raise ValueError(f"strength is {strength}; expected a finite number")


def _two_views(representations: list[torch.Tensor], rows: int) -> torch.Tensor:
    """Representations of the two full views, the first of all images before the second."""
    full_views, seen = [], 0
    # Methods with small crops embed these last.
    for z in representations:
        if seen < 2 * rows:
            full_views.append(z)
            seen += len(z)
    if seen != 2 * rows:
        raise ValueError(
            f"the method embeds {seen} views of {rows} images; expected the two full views of each "
            "(mae and supervised see one)"
        )
    return torch.cat(full_views)


def _flags(labels: torch.Tensor | None, rows: int) -> torch.Tensor:
    if labels is None or labels.shape != (rows,) or labels.dtype != torch.bool:
        given = "none" if labels is None else f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ValueError(f"labels are {given}; expected torch.bool of shape ({rows},), flags")
    return labels
