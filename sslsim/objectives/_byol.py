"""BYOL: predict the embedding of the other view by a slowly moving target network."""

from __future__ import annotations

import torch

from sslsim.core.unit_rows import unit_rows
from sslsim.objectives._common import batch


def byol(
    prediction: torch.Tensor,
    prediction_prime: torch.Tensor,
    target: torch.Tensor,
    target_prime: torch.Tensor,
) -> torch.Tensor:
    """BYOL, ``2 - 2 cos(prediction, target of the other view)``, summed over both directions.

    Parameters
    ----------
    prediction, prediction_prime : Tensor, shape (n, d)
        Outputs of the online network's predictor for the first and the second view, n >= 2.
    target, target_prime : Tensor, shape (n, d)
        Projections of the first and the second view by the target network. No gradient flows into
        them.

    Returns
    -------
    Tensor, scalar
        Mean over samples, from 0 (every prediction points along its target) to 8. Half precision is
        converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, d), or n < 2.

    Notes
    -----
    arXiv 2006.07733, eq. 2: ``prediction`` is compared with ``target_prime``, and
    ``prediction_prime`` with ``target``. The cosine with an embedding of zeros is zero.

    Examples
    --------
    >>> z = torch.eye(2)
    >>> float(byol(z, z, z, z)), float(byol(z, z, -z, z.flip(0)))
    (0.0, 6.0)
    """
    prediction, prediction_prime, target, target_prime = batch(
        prediction=prediction,
        prediction_prime=prediction_prime,
        target=target,
        target_prime=target_prime,
    )
    return _distance(prediction, target_prime.detach()) + _distance(
        prediction_prime, target.detach()
    )


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = unit_rows(a), unit_rows(b)
    return 2 - 2 * (a * b).sum(dim=1).mean()
