"""Spectra of embeddings and the ranks read off them.

Plain functions of embeddings (n, d), samples in rows, or of a spectrum. Everything is computed in
float64 on the smaller side of the matrix; results are float64 tensors on the embeddings' device.

A collapsed embedding has defined values, never NaN: its ranks are 0 where there is nothing to rank
(an embedding of zeros; a constant one once centred) and the decay of such a spectrum is infinite.
"""

from __future__ import annotations

import math

import torch

from sslsim.core.checks import equal_shapes, finite_matrix, real_tensor


def covariance_spectrum(z: torch.Tensor, center: bool = True) -> torch.Tensor:
    """Eigenvalues of the covariance ``Z^T Z / n``.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings of at least two samples.
    center : bool
        Subtract the mean first.

    Returns
    -------
    Tensor, shape (d,)
        Descending, none negative; those beyond the rank are 0 up to rounding.

    Raises
    ------
    ValueError
        If ``z`` is no matrix of two rows, or not finite.

    Examples
    --------
    >>> covariance_spectrum(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    tensor([1., 0.], dtype=torch.float64)
    """
    z = finite_matrix("z", z, rows=2).double()
    n, d = z.shape
    z = centred(z) if center else z
    gram = z @ z.T if n < d else z.T @ z
    values = torch.linalg.eigvalsh(gram / n).flip(0).clamp(min=0)
    return torch.cat([values, values.new_zeros(d - len(values))])


def cross_spectrum(z: torch.Tensor, z_prime: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of the symmetric cross-correlation ``(Z^T Z' + Z'^T Z) / (2n)``.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of two views of at least two samples, used without centring.

    Returns
    -------
    Tensor, shape (d,)
        Descending, of both signs.

    Raises
    ------
    ValueError
        If a view is no matrix of two rows or not finite, or their shapes differ.

    Notes
    -----
    The matrix of arXiv 2303.15438, section 4. With A = [Z; Z'] (2n, d) it is A^T J A / (2n), J the
    exchange of the views. For 2n < d, A^T = Q R gives its nonzero eigenvalues as those of
    R J R^T / (2n), (2n, 2n): no d x d matrix is formed.

    Examples
    --------
    >>> cross_spectrum(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0], [0, -1]]))
    tensor([ 0.5000, -0.5000], dtype=torch.float64)
    """
    z, z_prime = finite_matrix("z", z, rows=2), finite_matrix("z_prime", z_prime)
    equal_shapes("z", z, "z_prime", z_prime)
    (n, d), z, z_prime = z.shape, z.double(), z_prime.double()
    if 2 * n < d:
        r = torch.linalg.qr(torch.cat([z, z_prime]).T, mode="r").R  # (2n, 2n)
        half = r[:, :n] @ r[:, n:].T
    else:
        half = z.T @ z_prime
    values = torch.linalg.eigvalsh((half + half.T) / (2 * n))
    return torch.cat([values, values.new_zeros(d - len(values))]).sort(descending=True).values


def effective_rank(spectrum: torch.Tensor) -> torch.Tensor:
    """Exponential of the entropy of a spectrum scaled to sum to one.

    Parameters
    ----------
    spectrum : Tensor, shape (d,)
        Eigenvalues, or singular values, in any order, none negative.

    Returns
    -------
    Tensor, shape ()
        Between 1 and d; k for k equal values and otherwise zeros; 0 if all are zero.

    Raises
    ------
    ValueError
        If ``spectrum`` is no vector, empty, not finite, or holds a negative value.

    Notes
    -----
    Roy and Vetterli, The effective rank, EUSIPCO 2007, definition 1, who take singular values.

    Examples
    --------
    >>> effective_rank(torch.tensor([3.0, 3.0, 0.0]))
    tensor(2., dtype=torch.float64)
    """
    spectrum = _spectrum(spectrum)
    if bool(spectrum.max() == 0):
        return spectrum.new_zeros(())
    share = spectrum / spectrum.max()  # first, so that the sum of huge values stays finite
    return torch.special.entr(share / share.sum()).sum().exp()


def rank_me(z: torch.Tensor) -> torch.Tensor:
    """RankMe, the effective rank of the singular values of embeddings.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings, used without centring.

    Returns
    -------
    Tensor, shape ()
        Between 1 and min(n, d); 0 for a constant embedding of several rows, as the effective rank
        of its covariance.

    Raises
    ------
    ValueError
        If ``z`` is no matrix or not finite.

    Notes
    -----
    arXiv 2210.02885, equation 1, without the 1e-7 added there to every share: here they sum to one.
    There a constant embedding has rank 1, its mean; here it is told from one of a single direction.
    Singular values are taken of Z, not as roots of the eigenvalues of Z^T Z: those are rounded to
    1e-8 of the largest, and hundreds of such values count in an entropy.

    Examples
    --------
    >>> rank_me(2 * torch.eye(3))
    tensor(3.0000, dtype=torch.float64)
    """
    z = finite_matrix("z", z).double()
    if len(z) > 1 and bool((z == z[0]).all()):
        return z.new_zeros(())
    return effective_rank(singular_values(z))


def alpha_req(spectrum: torch.Tensor, first: int = 1, last: int | None = None) -> torch.Tensor:
    """Alpha-ReQ, the exponent of a power law fitted to a spectrum.

    Parameters
    ----------
    spectrum : Tensor, shape (d,)
        Eigenvalues of a covariance, descending, none negative.
    first, last : int
        Indices between which to fit, counted from 1 and inclusive; ``last`` None means d. The
        published code takes 12 to 100.

    Returns
    -------
    Tensor, shape ()
        Exactly a for eigenvalues proportional to ``i^-a``; infinite where fewer than two
        eigenvalues are above zero.

    Raises
    ------
    ValueError
        If the spectrum is no vector, not finite, negative somewhere or not descending, or the
        indices are not ``1 <= first <= last <= d``.

    Notes
    -----
    Agrawal et al., NeurIPS 2022 (first as arXiv 2202.05808). Least squares of log eigenvalue on
    log index, weighted by one over the index as in their code, so that every octave counts alike.
    Eigenvalues within d machine epsilons of the largest are rounding, and left out.

    Examples
    --------
    >>> alpha_req(1 / torch.arange(1, 50, dtype=torch.float64) ** 1.5)
    tensor(1.5000, dtype=torch.float64)
    """
    spectrum = _spectrum(spectrum)
    d = len(spectrum)
    last = d if last is None else last
    if bool((spectrum.diff() > 0).any()):
        raise ValueError("spectrum ascends somewhere; expected descending eigenvalues")
    if not 1 <= first <= last <= d:
        raise ValueError(
            f"first is {first} and last {last}; expected 1 <= first <= last <= {d}, the number of "
            "eigenvalues"
        )
    floor = d * torch.finfo(torch.float64).eps * spectrum[0]
    height = spectrum[first - 1 : last]
    height = height[height > floor]
    if len(height) < 2:
        return spectrum.new_tensor(math.inf)
    index = torch.arange(first, first + len(height), dtype=torch.float64, device=spectrum.device)
    weight = 1 / index
    weight = weight / weight.sum()
    x, y = index.log(), height.log()
    x = x - (weight * x).sum()
    return -(weight * x * y).sum() / (weight * x.square()).sum()


def centred(z: torch.Tensor) -> torch.Tensor:
    """Embeddings less their mean; exactly zero where all samples are equal.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings.

    Returns
    -------
    Tensor, shape (n, d)
        The same with columns that sum to zero.

    Examples
    --------
    >>> centred(torch.full((3, 1), 0.1)).ravel().tolist()
    [0.0, 0.0, 0.0]
    """
    # The first row goes first: what is constant becomes exactly zero, not a rounding of it.
    z = z - z[:1]
    return z - z.mean(dim=0)


def singular_values(z: torch.Tensor) -> torch.Tensor:
    """Singular values through the small triangle of a QR factorisation, thrice as fast.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Any matrix.

    Returns
    -------
    Tensor, shape (min(n, d),)
        Descending.

    Examples
    --------
    >>> singular_values(torch.tensor([[3.0, 0.0, 4.0]]).double())
    tensor([5.], dtype=torch.float64)
    """
    tall = z.T if z.shape[0] < z.shape[1] else z
    return torch.linalg.svdvals(torch.linalg.qr(tall, mode="r").R)


def _spectrum(values: torch.Tensor) -> torch.Tensor:
    values = real_tensor("spectrum", values)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"spectrum has shape {tuple(values.shape)}; expected (d,), d at least 1")
    if not bool(torch.isfinite(values).all()):
        raise ValueError("spectrum holds NaN or infinite values; expected finite numbers")
    if bool((values < 0).any()):
        raise ValueError(f"spectrum holds {float(values.min()):.3g}; expected no negative value")
    return values
