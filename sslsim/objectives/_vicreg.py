"""VICReg: invariance of views, variance of dimensions, covariance between dimensions."""

from __future__ import annotations

import torch

from sslsim.objectives._common import batch, inner, non_negative, off_diagonal, positive


def vicreg(
    z: torch.Tensor,
    z_prime: torch.Tensor,
    *,
    sim: float = 25.0,
    std: float = 25.0,
    cov: float = 1.0,
    eps: float = 1e-4,
    halve_variance: bool = False,
) -> torch.Tensor:
    """VICReg, ``sim s(Z, Z') + std (v(Z) + v(Z')) + cov (c(Z) + c(Z'))``.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of the two views of the whole batch, n >= 2.
    sim, std, cov : float
        Weights of invariance, variance and covariance.
    eps : float
        Number added to each variance under the square root.
    halve_variance : bool
        Whether to average the variance terms of the two views, as the authors' code does, instead
        of adding them, as the paper does (eq. 6 and algorithm 1). At the default weights this is
        the same as ``std`` 12.5.

    Returns
    -------
    Tensor, scalar
        Loss. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, d), n < 2, a weight is negative or ``eps`` not positive.

    Notes
    -----
    arXiv 2105.04906. s is the mean square over all n x d entries, as in its algorithm 1 and code
    (its eq. 5 does not divide by d). ``v(Z) = mean_j max(0, 1 - sqrt(Var(z_j) + eps))`` (eq. 1)
    and ``c(Z) = sum_{i != j} Cov(Z)_ij^2 / d`` (eq. 4), variance and covariance unbiased. With
    n < d the last is computed from the n x n Gram matrix, without a d x d matrix.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> float(vicreg(z, z)), float(vicreg(z, z + 1))
    (0.0, 25.0)
    """
    z, z_prime = batch(z=z, z_prime=z_prime)
    non_negative(sim=sim, std=std, cov=cov)
    positive(eps=eps)
    share = std / 2 if halve_variance else std
    return vicreg_terms(z, z_prime, sim, share, cov, eps)


def vicreg_terms(
    z: torch.Tensor, z_prime: torch.Tensor, sim: float, std: float, cov: float, eps: float
) -> torch.Tensor:
    """Sum of the three terms for stacks of batches, without checks.

    Parameters
    ----------
    z, z_prime : Tensor, shape (..., n, d)
        Stacks of batches of embeddings.
    sim, std, cov, eps : float
        As in :func:`vicreg`, in the paper's form.

    Returns
    -------
    Tensor, shape (...)
        One loss for each batch.

    Examples
    --------
    >>> z = torch.tensor([[[1.0], [-1.0]], [[0.0], [0.0]]])
    >>> vicreg_terms(z, z, 25.0, 1.0, 1.0, 1e-4).tolist()
    [0.0, 1.9800000190734863]
    """
    loss = sim * (z - z_prime).square().mean(dim=(-2, -1))
    for view in (z, z_prime):
        n, d = view.shape[-2:]
        centred = view - view.mean(dim=-2, keepdim=True)
        variance = centred.square().sum(dim=-2) / (n - 1)
        hinge = torch.relu(1 - torch.sqrt(variance + eps)).mean(dim=-1)
        covary = (_covariance_gram if n < d else _covariance_full)(centred, variance)
        loss = loss + std * hinge + (cov / d) * covary
    return loss


# Both: the sum of squared off-diagonal covariances of centred embeddings.
def _covariance_full(centred: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    del variance
    covariance = centred.mT @ centred / (centred.shape[-2] - 1)
    return off_diagonal(covariance).square().sum(dim=(-2, -1))


def _covariance_gram(centred: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    gram = centred @ centred.mT / (centred.shape[-2] - 1)
    return inner(gram, gram) - variance.square().sum(dim=-1)
