"""BYOL and SimSiam: predict the embedding of the other view, which is held fixed."""

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
    one, other = _cosine(prediction, target_prime), _cosine(prediction_prime, target)
    return (2 - 2 * one) + (2 - 2 * other)


def simsiam(
    prediction: torch.Tensor,
    prediction_prime: torch.Tensor,
    target: torch.Tensor,
    target_prime: torch.Tensor,
) -> torch.Tensor:
    """SimSiam, minus the mean cosine of predictions and embeddings of the other view.

    Parameters
    ----------
    prediction, prediction_prime : Tensor, shape (n, d)
        Outputs of the predictor for the first and the second view, n >= 2.
    target, target_prime : Tensor, shape (n, d)
        Embeddings of the first and the second view by the same network. No gradient flows into
        them.

    Returns
    -------
    Tensor, scalar
        Mean over samples and both directions, from -1 (every prediction points along its target) to
        1. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, d), or n < 2.

    Notes
    -----
    arXiv 2011.10566, eq. 4. The value is that of :func:`byol` divided by 4, minus 1: the methods
    differ in where their targets come from. The cosine with an embedding of zeros is zero.

    Examples
    --------
    >>> z = torch.eye(2)
    >>> float(simsiam(z, z, z, z)), float(simsiam(z, z, -z, z.flip(0)))
    (-1.0, 0.5)
    """
    prediction, prediction_prime, target, target_prime = batch(
        prediction=prediction,
        prediction_prime=prediction_prime,
        target=target,
        target_prime=target_prime,
    )
    return -(_cosine(prediction, target_prime) + _cosine(prediction_prime, target)) / 2


def _cosine(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (unit_rows(prediction) * unit_rows(target.detach())).sum(dim=1).mean()
