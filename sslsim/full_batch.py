r"""Any network, trained on the very pairs by full-batch descent on the theory's Barlow Twins.

Each iteration embeds both views of all n pairs, forms C = (Z^T Z' + Z'^T Z) / (2n) and follows the
gradient of ``||C - I||_F^2`` (arXiv 2303.15438, eq. 1): what :mod:`sslsim.linear` does for a linear
map, for small data and whatever module there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from sslsim.objectives.barlow_twins import barlow_twins


@dataclass(frozen=True, eq=False)
class FullBatchRun:
    """What was recorded at every iteration, from 0 (before the first update) on.

    Attributes
    ----------
    loss : ndarray, shape (T,)
        Of the objective.
    eigenvalues : ndarray, shape (T, d)
        Eigenvalues of C, descending.
    """

    loss: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]


def train_full_batch(
    module: nn.Module,
    x: torch.Tensor,
    x_prime: torch.Tensor,
    learning_rate: float,
    iterations: int,
    *,
    stop_above: float = math.inf,
    progress: bool = False,
) -> FullBatchRun:
    """Train a module in place by full-batch gradient descent.

    Parameters
    ----------
    module : nn.Module
        (2n, ...) -> (2n, d). Parameters that do not require gradients stay as they are.
    x, x_prime : Tensor, shape (n, ...)
        The two views of every pair.
    learning_rate : float
        Step of the descent, above zero.
    iterations : int
        Number of updates at most.
    stop_above : float
        End once the smallest eigenvalue of C exceeds this.
    progress : bool
        Show a progress bar.

    Returns
    -------
    FullBatchRun
        Loss and eigenvalues of every iteration.

    Raises
    ------
    ValueError
        If the views do not fit, an option is out of range, no parameter can be trained, or the loss
        diverges.

    Examples
    --------
    >>> layer = nn.Linear(2, 1, bias=False).double()
    >>> _ = nn.init.constant_(layer.weight, 1e-3)
    >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> run = train_full_batch(layer, x, x, learning_rate=0.02, iterations=200)
    >>> run.eigenvalues[[0, -1]].ravel().round(6).tolist()
    [2e-06, 1.0]
    """
    if x.shape != x_prime.shape or x.ndim < 2 or len(x) < 2:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and x_prime {tuple(x_prime.shape)}; expected equal "
            "shapes (n, ...) with n of at least 2"
        )
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate is {learning_rate}; expected a finite number above zero")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; expected at least 1")
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("module has no parameter to train; expected at least one")
    views = torch.cat([x, x_prime])
    losses: list[float] = []
    curves: list[torch.Tensor] = []
    for iteration in tqdm(range(iterations + 1), desc="full batch", disable=not progress):
        z, z_prime = module(views).split(len(x))
        loss = barlow_twins(z, z_prime, form="theory")
        value = loss.item()
        if not math.isfinite(value):
            raise ValueError(
                f"the loss is {value} at iteration {iteration}; expected a learning rate small "
                f"enough to converge, below {learning_rate}"
            )
        losses.append(value)
        curves.append(_eigenvalues(z.detach(), z_prime.detach()))
        if iteration == iterations or curves[-1][-1] > stop_above:
            break
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=learning_rate)
    return FullBatchRun(np.array(losses), torch.stack(curves).numpy())


def _eigenvalues(z: torch.Tensor, z_prime: torch.Tensor) -> torch.Tensor:
    cross = z.double().T @ z_prime.double()
    return torch.linalg.eigvalsh((cross + cross.T) / (2 * len(z))).flip(-1).cpu()
