"""Barlow Twins: drive the cross-correlation of two views to the identity."""

from __future__ import annotations

import torch

from sslsim.objectives._common import batch, inner, non_negative, off_diagonal

LAMBDA = {"theory": 1.0, "published": 5e-3}  # weight of the off-diagonal entries


def barlow_twins(
    z: torch.Tensor, z_prime: torch.Tensor, *, form: str = "theory", lam: float | None = None
) -> torch.Tensor:
    """Barlow Twins, in the form of its theory or of its authors.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of the two views of the whole batch, n >= 2.
    form : {"theory", "published"}
        ``"theory"`` (arXiv 2303.15438, eq. 1): ``C = (Z^T Z' + Z'^T Z) / (2 n)`` of embeddings that
        are neither centred nor scaled, and the loss is ``||C - I||_F^2``.
        ``"published"`` (arXiv 2103.03230, eq. 1 and 2): columns are centred and divided by their
        biased standard deviation over the batch, ``C = A^T A' / n``, and the loss is
        ``sum_i (1 - C_ii)^2 + lam sum_{i != j} C_ij^2``.
    lam : float, optional
        Weight of the second sum, in both forms. Default 1 for ``"theory"``, 5e-3 for
        ``"published"``.

    Returns
    -------
    Tensor, scalar
        Loss, zero at C = I. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, d), n < 2, ``form`` is unknown, or ``lam`` is negative.

    Notes
    -----
    With 2 n < d the sums use n x n Gram matrices, without a d x d matrix. C then has rank at most
    2 n, so that the loss of the theory is at least d - 2 n and nothing cancels.

    In the published form, a column that is constant over the batch up to rounding counts as zero.
    The authors' code adds 1e-5 to every variance instead, which would change the loss of small
    embeddings.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> float(barlow_twins(z, z)), float(barlow_twins(2 * z, z))
    (0.0, 2.0)
    """
    z, z_prime = batch(z=z, z_prime=z_prime)
    if form not in LAMBDA:
        raise ValueError(f"form is {form!r}; expected one of {', '.join(LAMBDA)}")
    lam = LAMBDA[form] if lam is None else lam
    non_negative(lam=lam)
    # With 2 n < d, Gram matrices and their gradients cost less than one d x d product.
    n, d = z.shape
    if form == "theory":
        diagonal, off = (_theory_gram if 2 * n < d else _theory_full)(z, z_prime)
    else:
        a, b = _standardised(z), _standardised(z_prime)
        diagonal, off = (_published_gram if 2 * n < d else _published_full)(a, b)
    return (1 - diagonal).square().sum() + lam * off


# All four: the diagonal of C (d,) and the sum of squares of its off-diagonal entries.
def _theory_full(z: torch.Tensor, z_prime: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    c = z.T @ z_prime
    c = (c + c.T) / (2 * len(z))
    return c.diagonal(), off_diagonal(c).square().sum()


def _theory_gram(z: torch.Tensor, z_prime: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    n = len(z)
    diagonal = (z * z_prime).sum(dim=0) / n
    across = z @ z_prime.T
    # ||Z^T Z' + Z'^T Z||^2 = 2 ||Z^T Z'||^2 + 2 <Z^T Z', Z'^T Z>, both traces cyclically permuted.
    total = inner(z @ z.T, z_prime @ z_prime.T) + inner(across, across.T)
    return diagonal, total / (2 * n * n) - diagonal.square().sum()


def _published_full(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    c = a.T @ b / len(a)
    return c.diagonal(), off_diagonal(c).square().sum()


def _published_gram(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    n = len(a)
    diagonal = (a * b).sum(dim=0) / n
    total = inner(a @ a.T, b @ b.T) / (n * n)
    return diagonal, total - diagonal.square().sum()


def _standardised(z: torch.Tensor) -> torch.Tensor:
    mean = z.mean(dim=0)
    centred = z - mean
    variance = centred.square().mean(dim=0)
    # Rounding errors of a constant column must not be scaled to unit variance.
    constant = variance <= (8 * torch.finfo(z.dtype).eps * mean).square()
    return torch.where(constant, 0.0, centred) / torch.where(constant, 1.0, variance).sqrt()
