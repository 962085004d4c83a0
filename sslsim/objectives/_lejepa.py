"""LeJEPA: views agree, and embeddings have the distribution of a standard Gaussian."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslsim.objectives._common import batch, views

_END, _INTERVALS = 5.0, 8  # points of the quadrature: [-5, 5] in 16 intervals, by symmetry half


def sigreg(z: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    r"""Sketched isotropic Gaussian regularisation: distance of projections from a Gaussian.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings of the whole batch, n >= 2.
    directions : Tensor, shape (d, m)
        Unit vectors in columns. No gradient flows into them.

    Returns
    -------
    Tensor, scalar
        Mean over the directions of the statistic of Epps and Pulley, 0 or above. It grows with n
        unless the distribution is the Gaussian. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes do not fit or n < 2.

    Notes
    -----
    arXiv 2511.08544, section 4.2 and algorithm 1. The statistic of values p_i is

    .. math:: n \int |\frac1n \sum_i e^{i t p_i} - e^{-t^2/2}|^2 e^{-t^2/2} dt,

    by the trapezoidal rule of 17 points from -5 to 5, as published. The integrand is even and zero
    at t = 0: eight points suffice.

    Examples
    --------
    >>> z = torch.tensor([[0.0], [0.0]])
    >>> exact = 2 * torch.pi**0.5 * (2**0.5 - 2 + (2 / 3) ** 0.5)
    >>> bool(abs(sigreg(z, torch.ones(1, 1)) - exact) < 1e-5)
    True
    """
    (z,) = batch(z=z)
    if directions.dim() != 2 or len(directions) != z.shape[1] or directions.shape[1] < 1:
        raise ValueError(
            f"directions have shape {tuple(directions.shape)}; expected ({z.shape[1]}, m), unit "
            "vectors in columns"
        )
    step = _END / _INTERVALS
    t = step * torch.arange(1, _INTERVALS + 1, dtype=z.dtype, device=z.device)
    gaussian = torch.exp(-t.square() / 2)
    weights = 2 * step * gaussian
    weights[-1] /= 2
    angles = (z @ directions.detach().to(z))[:, :, None] * t  # (n, m, 8)
    real, imaginary = angles.cos().mean(dim=0) - gaussian, angles.sin().mean(dim=0)
    return len(z) * ((real.square() + imaginary.square()) @ weights).mean()


def lejepa(
    embeddings: Sequence[torch.Tensor], directions: torch.Tensor, *, lam: float = 0.05
) -> torch.Tensor:
    """LeJEPA, ``(1 - lam)`` times prediction and ``lam`` times the mean :func:`sigreg` of views.

    Parameters
    ----------
    embeddings : sequence of Tensor, shape (n, d)
        Embeddings of two views or more of the whole batch, n >= 2. The first two are the global
        ones.
    directions : Tensor, shape (d, m)
        Unit vectors in columns.
    lam : float
        Weight of the regularisation, from 0 to 1. Default 0.05, as the paper recommends.

    Returns
    -------
    Tensor, scalar
        Loss. Prediction is the mean square over all entries of the difference of a view from the
        mean of the first two. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If there are fewer than two views, shapes do not fit, n < 2 or ``lam`` is out of range.

    Notes
    -----
    arXiv 2511.08544, section 5.1 and algorithm 2, which divides by d as here.

    Examples
    --------
    >>> z = torch.tensor([[1.0], [-1.0]])
    >>> float(lejepa([z, -z, z], torch.ones(1, 1), lam=0.0))
    1.0
    """
    outputs = views("embeddings", embeddings)
    if not 0 <= lam <= 1:
        raise ValueError(f"lam is {lam}; expected a number from 0 to 1")
    center = (outputs[0] + outputs[1]) / 2
    prediction = torch.stack([(z - center).square().mean() for z in outputs]).mean()
    regularity = torch.stack([sigreg(z, directions) for z in outputs]).mean()
    return (1 - lam) * prediction + lam * regularity
