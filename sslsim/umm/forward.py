"""One forward pass of a learner: its loss, early features and late features of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from sslsim.coding_rate import coding_rate_reduction, instance_groups
from sslsim.core.unit_rows import unit_rows
from sslsim.data.views import Views
from sslsim.methods.learner import Learner
from sslsim.umm.split import Split


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One pass of a learner over the views of n images.

    Attributes
    ----------
    loss : Tensor, shape ()
        Loss of the learner, through its pre-trained head.
    early : tuple of Tensor, 2 n rows in all
        Early features z_e of the two full views of all images, one tensor for each call that the
        method makes; row r belongs to image r mod n. They are leaves of the graph: ``loss`` has
        gradients with respect to them, and none with respect to the early part.
    representation, embedding : Tensor, shape (2 n, feature_dim) and (2 n, dim)
        Features before and after the projector, in the same order.
    """

    loss: torch.Tensor
    early: tuple[torch.Tensor, ...]
    representation: torch.Tensor
    embedding: torch.Tensor


def forward_pass(
    learner: Learner,
    split: Split,
    batch: Views,
    labels: torch.Tensor | None,
    state: Mapping[str, torch.Tensor] | None = None,
) -> ForwardPass:
    """Run a learner on a batch, its encoder cut at the split.

    Parameters
    ----------
    learner : Learner
        Learner of any method.
    split : Split
        Split of the learner's encoder.
    batch : Views
        At least two views of n images.
    labels : Tensor or None
        Labels of the images, for the learner.
    state : mapping of str to Tensor, optional
        Parameters and buffers, by name, that replace those of the learner. Buffers in it change in
        place where the learner would change its own, as BatchNorms in training mode do.

    Returns
    -------
    ForwardPass
        The results, which can be differentiated with respect to ``state`` as often as the loss.

    Raises
    ------
    ValueError
        If the method does not embed two views of every image.

    Examples
    --------
    >>> from sslsim.methods.build import build_learner
    >>> from sslsim.umm.split import split_encoder
    >>> learner = build_learner("simclr", (1, 8, 8), 4, encoder="convnet", seed=0)
    >>> split = split_encoder(learner.encoder, "layer2")
    >>> pair = Views((torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)), None)
    >>> forward = forward_pass(learner, split, pair, None)
    >>> [tuple(z.shape) for z in forward.early], tuple(forward.embedding.shape)
    ([(3, 64, 2, 2), (3, 64, 2, 2)], (6, 4))
    """
    early: list[torch.Tensor] = []
    late: list[tuple[torch.Tensor, torch.Tensor]] = []

    def detach(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        early.append(output.detach().requires_grad_())
        return early[-1].clone()  # an activation in place may follow

    def note(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        late.append((inputs[0], output))

    with ExitStack() as hooks:
        hooks.enter_context(split.cut.register_forward_hook(detach))
        hooks.enter_context(split.projector.register_forward_hook(note))
        # The fused kernels of attention have no second derivative.
        hooks.enter_context(sdpa_kernel(SDPBackend.MATH))
        loss = functional_call(learner, dict(state or {}), (batch, labels))
    rows = 2 * len(batch.views[0])
    calls = _calls_of(rows, [len(z) for z in early], [len(z) for z, _ in late])
    both = [torch.cat(parts) for parts in zip(*late[:calls], strict=True)]
    return ForwardPass(loss, tuple(early[:calls]), *both)


def _calls_of(rows: int, early: list[int], late: list[int]) -> int:
    """Number of first calls of an encoder that contain the two full views of all images."""
    calls, seen = 0, 0
    # Methods with small crops embed these last.
    while seen < rows and calls < min(len(early), len(late)):
        if early[calls] != late[calls]:
            break
        seen += early[calls]
        calls += 1
    if seen != rows:
        raise ValueError(
            f"the method embeds {seen} views of {rows // 2} images; expected the two full views of "
            "each (mae and supervised see one)"
        )
    return calls


def instance_reduction(features: torch.Tensor, eps: float) -> torch.Tensor:
    """Coding rate reduction with the views of one image as a group, of features of unit norm.

    Parameters
    ----------
    features : Tensor, shape (2 n, d)
        Row r belongs to image r mod n, as in a :class:`ForwardPass`.
    eps : float
        Distortion, for features of norm one.

    Returns
    -------
    Tensor of float64, shape ()
        DeltaR in nats, differentiable.

    Raises
    ------
    ValueError
        As in ``coding_rate_reduction``.

    Notes
    -----
    arXiv 2006.08558, eq. 4, with instances for classes as in arXiv 2410.00772, section 4.2.
    Features are scaled to unit norm because DeltaR grows with their scale.

    Examples
    --------
    >>> z = torch.eye(2).repeat(2, 1)  # two images, orthogonal, their views alike
    >>> round(instance_reduction(5 * z, eps=1.0).item(), 4)  # log 2 - 1/2 log 3
    0.1438
    """
    unit = unit_rows(features.double())
    return coding_rate_reduction(unit, instance_groups(len(features) // 2, views=2), eps)
