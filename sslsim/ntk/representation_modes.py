r"""Modes of a representation, and how fast each would grow on pairs it was not fitted to.

A last linear layer that starts small learns, at first, as a linear model of the representation h.
Its modes are the eigenvectors v_j of Gamma_h = (H^T H' + H'^T H) / (2n) with eigenvalues gamma_j,
and mode j steps after a flow time in inverse proportion to gamma_j (arXiv 2303.15438, equation 13,
with h in the place of x). On few pairs some gamma_j are above zero by chance; what fresh views of
fresh images teach is v_j^T Gamma_h v_j of other pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sslsim.core.checks import equal_shapes, finite_matrix

Pair = tuple[torch.Tensor, torch.Tensor]

RESOLVED = 2.0
"""Standard errors above zero from which a held-out growth rate counts as resolved."""


@dataclass(frozen=True, eq=False)
class RepresentationModes:
    """Modes of a representation, by the eigenvalues on the pairs that they are fitted to.

    Attributes
    ----------
    eigenvalues : Tensor, shape (k,)
        gamma_j of the fitted pairs, descending.
    held_out : Tensor, shape (k,)
        v_j^T Gamma_h v_j of the held-out pairs: the rate that is left of gamma_j.
    standard_errors : Tensor, shape (k,)
        Standard errors of ``held_out`` over held-out pairs.
    power : float
        Mean of |h|^2 over both views of the held-out pairs, which bounds the sum of all rates.
    directions : Tensor, shape (p, k)
        v_j in columns.
    """

    eigenvalues: torch.Tensor
    held_out: torch.Tensor
    standard_errors: torch.Tensor
    power: float
    directions: torch.Tensor

    @property
    def shares(self) -> torch.Tensor:
        """Held-out rates as shares of |h|^2."""
        return self.held_out / self.power

    @property
    def resolved(self) -> torch.Tensor:
        """Whether each held-out rate is above zero by ``RESOLVED`` standard errors."""
        return self.held_out > RESOLVED * self.standard_errors


def representation_modes(fitted: Pair, held_out: Pair, count: int = 16) -> RepresentationModes:
    """Leading modes of a representation and their growth rates on held-out pairs.

    Parameters
    ----------
    fitted : (Tensor, Tensor), shape (n, p)
        Representations of both views of the pairs that modes are fitted to.
    held_out : (Tensor, Tensor), shape (m, p)
        The same of other pairs, at least 2.
    count : int
        Modes wanted; at most 2n and p are returned.

    Returns
    -------
    RepresentationModes
        Float64 tensors.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite, or ``count`` is below 1.

    Notes
    -----
    Costs an eigenproblem of the smaller of p and 2n: with S the swap of both views and A the 2n
    stacked representations, Gamma_h = A^T S A / (2n), whose eigenvectors lie in the span of A.

    Examples
    --------
    >>> h = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> modes = representation_modes((h, h), (h, h))
    >>> modes.eigenvalues.tolist(), modes.held_out.tolist(), modes.shares.tolist()
    ([2.0, 0.5], [2.0, 0.5], [0.8, 0.2])
    """
    if count < 1:
        raise ValueError(f"count is {count}; expected at least 1")
    a, a_prime, b, b_prime = (
        finite_matrix(name, value, rows=2).double()
        for name, value in zip(
            ("fitted[0]", "fitted[1]", "held_out[0]", "held_out[1]"),
            (*fitted, *held_out),
            strict=True,
        )
    )
    equal_shapes("fitted[0]", a, "fitted[1]", a_prime)
    equal_shapes("held_out[0]", b, "held_out[1]", b_prime)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"fitted has {a.shape[1]} features and held_out {b.shape[1]}; expected the same number"
        )
    eigenvalues, directions = _modes(a, a_prime, count)
    rates = (b @ directions) * (b_prime @ directions)  # (m, k), whose mean is v^T Gamma v
    return RepresentationModes(
        eigenvalues=eigenvalues,
        held_out=rates.mean(dim=0),
        standard_errors=rates.std(dim=0) / len(rates) ** 0.5,
        power=float((b.square().sum(dim=1) + b_prime.square().sum(dim=1)).mean() / 2),
        directions=directions,
    )


def _modes(a: torch.Tensor, a_prime: torch.Tensor, count: int) -> Pair:
    """Leading eigenvalues and eigenvectors of the pairs' cross-correlation."""
    n, p = a.shape
    basis = None
    if 2 * n < p:  # within the span of the rows
        basis = torch.linalg.qr(torch.cat([a, a_prime]).T).Q  # (p, 2n)
        a, a_prime = a @ basis, a_prime @ basis
    cross = a.T @ a_prime / (2 * n)
    values, vectors = torch.linalg.eigh(cross + cross.T)
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    return values, vectors if basis is None else basis @ vectors
