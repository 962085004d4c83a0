r"""Matrix formulas derived symbolically, as executable proofs.

This is the counterpart of :mod:`theory.symbolic.scalar` for small symbolic matrices: gradients by
differentiation of every entry, and the solution of the matrix Riccati equation of
:mod:`theory.losses.spectral_contrastive`.
"""

from __future__ import annotations

import sympy as sp

from theory.arrays import whole_number
from theory.symbolic.scalar import TIME


def matrix_gradient(dim: int, inputs: int) -> tuple[sp.Matrix, sp.Matrix]:
    """Gradient of ``||W Gamma W^T - I||_F^2``, derived for every entry and as a formula.

    Parameters
    ----------
    dim, inputs : int
        Size d x m of the symbolic W; Gamma is a general symmetric m x m matrix.

    Returns
    -------
    derived, formula : sympy.Matrix, shape (d, m)
        Entrywise derivatives, and ``4 (W Gamma W^T - I) W Gamma``; their expansions are equal.

    Raises
    ------
    ValueError
        If a size is not from 1 to 4 (expressions of larger sizes are too long).

    Notes
    -----
    arXiv 2303.15438, section 4.

    Examples
    --------
    >>> derived, formula = matrix_gradient(1, 1)
    >>> sp.expand(formula[0, 0]), sp.expand(derived - formula)
    (4*g0_0**2*w0_0**3 - 4*g0_0*w0_0, Matrix([[0]]))
    """
    w, gamma = _weights_and_gamma(dim, inputs)
    gap = w * gamma * w.T - sp.eye(w.rows)
    loss = sum(entry**2 for entry in gap)
    return w.applyfunc(lambda entry: sp.diff(loss, entry)), 4 * gap * w * gamma


def riccati_velocity(dim: int, inputs: int) -> tuple[sp.Matrix, sp.Matrix]:
    """Velocity of M = W^T W under the whitened spectral contrastive loss, derived and as a formula.

    Parameters
    ----------
    dim, inputs : int
        Size d x m of the symbolic W.

    Returns
    -------
    derived, formula : sympy.Matrix, shape (m, m)
        Velocity from the entrywise gradient of ``-2 Tr(W Gamma W^T) + ||W W^T||_F^2``, and
        ``4 (Gamma M + M Gamma) - 8 M^2``; their expansions are equal.

    Raises
    ------
    ValueError
        If a size is not from 1 to 4.

    Notes
    -----
    arXiv 2106.04156, section 3, for the loss.

    Examples
    --------
    >>> derived, formula = riccati_velocity(1, 1)
    >>> formula[0, 0], sp.expand(derived - formula)
    (8*g0_0*w0_0**2 - 8*w0_0**4, Matrix([[0]]))
    """
    w, gamma = _weights_and_gamma(dim, inputs)
    loss = -2 * (w * gamma * w.T).trace() + sum(entry**2 for entry in w * w.T)
    velocity = w.applyfunc(lambda entry: -sp.diff(loss, entry))
    gram = w.T * w
    derived = velocity.T * w + w.T * velocity
    return derived, 4 * (gamma * gram + gram * gamma) - 8 * gram**2


def riccati_solution(gamma: sp.Matrix, w0: sp.Matrix) -> sp.Matrix:
    """Gram matrix M(t) of the whitened spectral contrastive loss.

    Parameters
    ----------
    gamma : sympy.Matrix, shape (m, m)
        Diagonal matrix without zeros (Gamma in its eigenbasis).
    w0 : sympy.Matrix, shape (d, m)
        Weights at t = 0.

    Returns
    -------
    sympy.Matrix, shape (m, m)
        ``e^{4 Gamma t} W0^T [I + W0 (e^{8 Gamma t} - I) Gamma^-1 W0^T]^-1 W0 e^{4 Gamma t}``.

    Raises
    ------
    ValueError
        If the shapes do not fit or gamma is not diagonal.

    Examples
    --------
    >>> gamma, s0 = sp.symbols("gamma s0")
    >>> riccati_solution(sp.Matrix([[gamma]]), sp.Matrix([[s0]]))[0, 0]
    s0**2*exp(8*gamma*t)/(1 + s0**2*(exp(8*gamma*t) - 1)/gamma)
    """
    if not gamma.is_diagonal() or gamma.shape != (w0.cols, w0.cols):
        raise ValueError(
            f"gamma is {gamma.shape} and w0 {w0.shape}; expected a diagonal (m, m) and a (d, m)"
        )
    modes = list(gamma.diagonal())
    grown = sp.diag(*[sp.exp(4 * g * TIME) for g in modes])
    gain = sp.diag(*[(sp.exp(8 * g * TIME) - 1) / g for g in modes])
    inner = sp.eye(w0.rows) + w0 * gain * w0.T
    # inv() needs minutes to decide that the determinant, which is at least 1, is not zero.
    inverse = inner.adjugate() / inner.det(method="berkowitz")
    return grown * w0.T * inverse * w0 * grown


def _weights_and_gamma(dim: int, inputs: int) -> tuple[sp.Matrix, sp.Matrix]:
    dim, inputs = whole_number("dim", dim, 1, 4), whole_number("inputs", inputs, 1, 4)
    w = sp.Matrix(dim, inputs, lambda i, j: sp.Symbol(f"w{i}_{j}"))
    gamma = sp.Matrix(inputs, inputs, lambda i, j: sp.Symbol(f"g{min(i, j)}_{max(i, j)}"))
    return w, gamma
