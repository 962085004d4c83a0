"""Optimisers for self-supervised learning: those of torch, LARS for large batches, and Muon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from sslsim.training.muon import Muon
from sslsim.training.options import check_optimizer

OF_TENSORS = ("lars", "muon")
"""Optimisers whose step of a parameter depends on the whole tensor."""


def make_optimizer(
    kind: str, module: nn.Module, learning_rate: float, *, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Optimiser of all parameters of a module that require gradients.

    Parameters
    ----------
    kind : {"sgd", "adamw", "lars", "muon"}
        ``sgd`` with heavy-ball momentum, ``adamw`` (1711.05101), ``lars`` (:class:`Lars`), ``muon``
        (:class:`sslsim.training.muon.Muon`).
    module : nn.Module
        Module to train. Matrices and kernels decay. Vectors (biases, gains) decay only under
        ``sgd``, since theory has the same penalty on all parameters.
    learning_rate : float
        Base learning rate, above zero.
    momentum : float
        Momentum in [0, 1); ``adamw`` ignores it.
    weight_decay : float
        Weight decay, at least zero, in torch's definition for the optimiser.

    Returns
    -------
    torch.optim.Optimizer
        Optimiser; every group stores its base learning rate as ``base_lr``.

    Raises
    ------
    ValueError
        If the kind is unknown, a number is out of range or nothing requires gradients.

    Examples
    --------
    >>> optimizer = make_optimizer("lars", nn.Linear(2, 2), 0.1, momentum=0.9, weight_decay=1e-6)
    >>> [(group["adapt"], group["weight_decay"]) for group in optimizer.param_groups]
    [(True, 1e-06), (False, 0.0)]
    """
    check_optimizer(kind, momentum, weight_decay)
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate is {learning_rate}; expected a finite number above zero")
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("no parameter requires gradients; expected something to train")
    least = 2 if kind == "muon" else 1  # rows of what is adapted: one row is a vector
    tensors = [p for p in trained if p.ndim > 1 and len(p) >= least]
    vectors = [p for p in trained if p.ndim <= 1 or len(p) < least]
    optimizer: torch.optim.Optimizer
    if kind == "sgd":
        optimizer = torch.optim.SGD(trained, learning_rate, momentum, weight_decay=weight_decay)
    else:
        groups: list[dict[str, Any]] = [
            {"params": tensors, "weight_decay": weight_decay, "adapt": True},
            {"params": vectors, "weight_decay": 0.0, "adapt": False},
        ]
        groups = [group for group in groups if group["params"]]
        if kind == "adamw":
            optimizer = torch.optim.AdamW(groups, learning_rate)
        else:
            optimizer = (Lars if kind == "lars" else Muon)(groups, learning_rate, momentum)
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman and Ginsburg 2017, arXiv 1708.03888).

    The step of every tensor is proportional to its norm: with g the gradient plus weight decay,
    ``g * trust * |w| / |g|`` is added to the momentum buffer. As in the code of Barlow Twins
    (2103.03230), vectors (biases and gains) are neither adapted nor decayed.

    Parameters
    ----------
    params : iterable
        Parameter groups, with ``adapt`` (bool) and ``weight_decay``.
    lr : float
        Learning rate.
    momentum : float
        Momentum of the buffer.
    trust : float
        Trust coefficient.

    Examples
    --------
    >>> weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    >>> weight.grad = torch.tensor([[0.0, 100.0]])
    >>> Lars([weight], lr=1.0, momentum=0.9).step()
    >>> weight.detach().double().round(decimals=4).tolist()
    [[3.0, 3.995]]
    """

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float = 0.9, trust: float = 1e-3
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "trust": trust,
            "weight_decay": 0.0,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None, "closures are not used"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                change = weight.grad.add(weight, alpha=group["weight_decay"])
                if group["adapt"]:
                    weight_norm, change_norm = weight.norm(), change.norm()
                    ratio = group["trust"] * weight_norm / change_norm
                    # If the tensor or the gradient is zero, the step is not scaled.
                    change.mul_(torch.where((weight_norm > 0) & (change_norm > 0), ratio, 1.0))
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].mul_(group["momentum"]).add_(change)
                weight.sub_(state["momentum"], alpha=group["lr"])
