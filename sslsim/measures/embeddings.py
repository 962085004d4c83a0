"""What an embedding looks like without labels: its spectrum, rank, and place on the sphere.

Spectra and the ranks of them are those of :mod:`sslsim.measures.spectra`; here are the measures
that compare views, images or representations. Plain functions of embeddings (n, d), samples in
rows, computed in float64; results are float64 tensors on the embeddings' device.

A collapsed embedding has defined values, never NaN: a constant one has a LiDAR and a CKA of 0 and
the uniformity 0, the worst there is.

All of them with n = 256 and d = 2048 take about 0.1 s on one core, half of it the cross spectrum.
"""

from __future__ import annotations

import math

import torch

from sslsim.core.checks import equal_shapes, finite_matrix
from sslsim.measures.spectra import (
    alpha_req,
    centred,
    covariance_spectrum,
    cross_spectrum,
    effective_rank,
    rank_me,
    singular_values,
)

__all__ = [
    "alignment",
    "alpha_req",
    "covariance_spectrum",
    "cross_spectrum",
    "effective_rank",
    "lidar",
    "linear_cka",
    "rank_me",
    "subspace_alignment",
    "uniformity",
]


def lidar(z: torch.Tensor, groups: torch.Tensor, delta: float = 1e-4) -> torch.Tensor:
    """LiDAR, the effective rank of linear discriminant analysis with images as classes.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings of several views of each image.
    groups : Tensor of int, shape (n,)
        Image that each row is a view of.
    delta : float
        Added to the within-image covariance, in the unit of the embeddings squared.

    Returns
    -------
    Tensor, shape ()
        Between 1 and min(d, number of images - 1); 0 for a constant embedding.

    Raises
    ------
    ValueError
        If ``z`` is no matrix or not finite, ``groups`` does not fit, there are fewer than two
        images or one with a single view, or ``delta`` is not above zero.

    Notes
    -----
    arXiv 2312.04000, section 4: the eigenvalues are those of Sw^-1/2 Sb Sw^-1/2 with Sb the
    covariance of the images' means, Sw the mean covariance about them plus ``delta``; images count
    by their views. Their shares sum to one, without the small constant added to each in the paper.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    >>> lidar(z, torch.tensor([0, 0, 1, 1]))
    tensor(1., dtype=torch.float64)
    """
    z = centred(finite_matrix("z", z, rows=2).double())
    n, d = z.shape
    groups = torch.as_tensor(groups, device=z.device)
    if groups.shape != (n,):
        raise ValueError(f"groups has shape {tuple(groups.shape)}; expected ({n},), one a row of z")
    _, member, views = groups.unique(return_inverse=True, return_counts=True)
    if len(views) < 2 or int(views.min()) < 2:
        raise ValueError(
            f"groups names {len(views)} image(s), one with {int(views.min())} view(s); expected at "
            "least two images of at least two views"
        )
    if not (math.isfinite(delta) and delta > 0):
        raise ValueError(f"delta is {delta}; expected a finite number above zero")
    if n < d:  # all happens in the span of the samples: rotate them into it
        z = torch.linalg.qr(z.T, mode="r").R.T
    means = z.new_zeros(len(views), z.shape[1]).index_add_(0, member, z) / views[:, None]
    within = z - means[member]
    sw = within.T @ within / n
    # Rounding error of a matrix of that size: the matrix of a diverging run stays positive.
    ridge = delta + z.shape[1] * torch.finfo(z.dtype).eps * sw.trace()
    sw = sw + ridge * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    between = means * (views[:, None].to(z) / n).sqrt()  # Sb = between^T between
    factor = torch.linalg.cholesky(sw)
    white = torch.linalg.solve_triangular(factor, between.T, upper=False)
    return effective_rank(singular_values(white).square())


def alignment(z: torch.Tensor, z_prime: torch.Tensor, power: float = 2) -> torch.Tensor:
    """Mean distance between the two views of a sample on the unit sphere.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of two views; scaled to unit norm here. A zero embedding stays zero.
    power : float
        Power of the distance, above zero.

    Returns
    -------
    Tensor, shape ()
        Mean of ``||z_i - z'_i||^power``, from 0 to ``2^power``; lower is better. Differentiable.

    Raises
    ------
    ValueError
        If a view is no matrix or not finite, their shapes differ, or ``power`` is not above zero.

    Notes
    -----
    arXiv 2005.10242, section 4.1.

    Examples
    --------
    >>> alignment(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]), power=4)
    tensor(4.0000, dtype=torch.float64)
    """
    z, z_prime = finite_matrix("z", z), finite_matrix("z_prime", z_prime)
    equal_shapes("z", z, "z_prime", z_prime)
    if not (math.isfinite(power) and power > 0):
        raise ValueError(f"power is {power}; expected a finite number above zero")
    gap = _on_sphere(z.double()) - _on_sphere(z_prime.double())
    return torch.linalg.vector_norm(gap, dim=1).pow(power).mean()


def uniformity(z: torch.Tensor, t: float = 2) -> torch.Tensor:
    """Logarithm of the mean Gaussian potential between samples on the unit sphere.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings of at least two samples; scaled to unit norm here. A zero embedding stays zero.
    t : float
        Inverse width of the potential, above zero.

    Returns
    -------
    Tensor, shape ()
        Logarithm of the mean of ``exp(-t ||z_i - z_j||^2)`` over pairs i < j, from ``-4t`` (two
        antipodal points) to 0 (all in one place); lower is better. Differentiable.

    Raises
    ------
    ValueError
        If ``z`` is no matrix of two rows or not finite, or ``t`` is not above zero.

    Notes
    -----
    arXiv 2005.10242, section 4.1; pairs of a sample with itself are left out, as in its code.

    Examples
    --------
    >>> uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]))
    tensor(-8., dtype=torch.float64)
    """
    z = finite_matrix("z", z, rows=2)
    if not (math.isfinite(t) and t > 0):
        raise ValueError(f"t is {t}; expected a finite number above zero")
    z = _on_sphere(z.double())
    n = len(z)
    i, j = torch.triu_indices(n, n, 1, device=z.device)
    gram = z @ z.T
    norms = gram.diagonal()
    distance = norms[i] + norms[j] - 2 * gram[i, j]  # squared; (n (n - 1) / 2,)
    return torch.logsumexp(-t * distance, dim=0) - math.log(len(i))


def linear_cka(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Linear centred kernel alignment of two representations of the same samples.

    Parameters
    ----------
    x : Tensor, shape (n, p)
        One representation of at least two samples.
    y : Tensor, shape (n, q)
        The other.

    Returns
    -------
    Tensor, shape ()
        Between 0 and 1; 1 for representations equal up to rotation, scale and shift; 0 where one
        is constant. Differentiable.

    Raises
    ------
    ValueError
        If one is no matrix of two rows or not finite, or their numbers of rows differ.

    Notes
    -----
    arXiv 1905.00414, section 3: ``||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F)`` of centred columns,
    from the n x n Gram matrices where those are smaller.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> linear_cka(x, 3 * x.flip(1))
    tensor(1., dtype=torch.float64)
    """
    x, y = finite_matrix("x", x, rows=2), finite_matrix("y", y, rows=2)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y {len(y)}; expected the same samples")
    x, y = _unit(centred(x.double())), _unit(centred(y.double()))
    (n, p), q = x.shape, y.shape[1]
    if n * (p + q) < p * p + p * q + q * q:
        kx, ky = x @ x.T, y @ y.T
        parts = (kx * ky).sum(), kx.square().sum(), ky.square().sum()
    else:
        parts = (x.T @ y).square().sum(), (x.T @ x).square().sum(), (y.T @ y).square().sum()
    shared, xx, yy = parts
    if bool(xx == 0) or bool(yy == 0):
        return shared  # zero: one of the two is constant
    return shared / (xx.sqrt() * yy.sqrt())


def subspace_alignment(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Mean squared cosine of the angles between two subspaces.

    Parameters
    ----------
    u, v : Tensor, shape (m, k)
        Bases in columns, linearly independent, orthonormal or not.

    Returns
    -------
    Tensor, shape ()
        ``||U^T V||_F^2 / k`` of orthonormal bases, from 0 (orthogonal) to 1 (the same subspace).
        By chance k / m.

    Raises
    ------
    ValueError
        If one is no matrix or not finite, their shapes differ, or columns are linearly dependent.

    Examples
    --------
    >>> u = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> v = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    >>> subspace_alignment(u, v)
    tensor(0.5000, dtype=torch.float64)
    """
    u, v = finite_matrix("u", u), finite_matrix("v", v)
    equal_shapes("u", u, "v", v)
    overlap = _basis("u", u.double()).T @ _basis("v", v.double())
    return overlap.square().mean() * overlap.shape[1]


def _unit(z: torch.Tensor) -> torch.Tensor:
    largest = z.detach().abs().max()
    return z / largest if bool(largest > 0) else z


def _on_sphere(z: torch.Tensor) -> torch.Tensor:
    norm = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    return z / torch.where(norm > 0, norm, 1.0)


def _basis(name: str, columns: torch.Tensor) -> torch.Tensor:
    """Orthonormal basis of the span of linearly independent columns."""
    m, k = columns.shape
    values = torch.linalg.svdvals(columns)
    if k > m or bool(values[-1] <= m * torch.finfo(torch.float64).eps * values[0]):
        raise ValueError(
            f"{name} of shape {(m, k)} has linearly dependent columns; expected a basis"
        )
    return torch.linalg.qr(columns).Q
