r"""Kernels of infinitely wide ReLU networks: arc-cosine kernels, layer by layer.

Consider an MLP of L layers without biases and an input x with m entries,

    u_1 = sqrt(2/m) W_1 x,   u_{l+1} = sqrt(c/n_l) W_{l+1} relu(u_l),   f = u_L,

with standard normal W, c = 2 before a ReLU and 1 in the last layer (for L = 1: f = W x / sqrt(m)).
At infinite width f is a Gaussian process of covariance q_L, and its tangent kernel does not change
in training (Jacot, Gabriel and Hongler, arXiv 1806.07572). With theta the angle between two inputs
in the geometry of q_l, cos theta = q_l(x, x') / sqrt(q_l(x, x) q_l(x', x')),

    q_{l+1} = c sqrt(q_l(x, x) q_l(x', x')) [sin theta + (pi - theta) cos theta] / (2 pi),
    Theta_{l+1} = q_{l+1} + c (pi - theta) / (2 pi) Theta_l,      Theta_1 = q_1,

the arc-cosine kernels of orders 1 and 0 (Cho and Saul, Advances in Neural Information Processing
Systems 2009). This is the "ntk" parameterisation. In the "standard" one, weights have variances c/n
and no factor in front; f is the same, but the tangent kernel of a layer is larger by n/c and grows
with the widths. Divided by the common width of the hidden layers it has the limit

    Theta_{l+1} = q_{l+1} / c + c (pi - theta) / (2 pi) Theta_l,      Theta_1 = 0:

the first layer, whose inputs do not grow in number, learns infinitely slower than the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, whole_number

PARAMETERIZATIONS = ("ntk", "standard")

_ROUNDING = 1e-14  # of a cosine


def relu_moments(covariance: Array, size: Array) -> tuple[Array, Array]:
    """Moments of the ReLUs of two correlated normal numbers u and v, and of their derivatives.

    Parameters
    ----------
    covariance : ndarray, shape (...)
        E u v.
    size : ndarray, shape (...)
        Root of E u^2 E v^2.

    Returns
    -------
    product, both : ndarray, shape (...)
        E relu(u) relu(v), and the probability that both u and v are positive.

    Examples
    --------
    >>> product, both = relu_moments(np.array([1.0, 0.0]), np.array([1.0, 1.0]))
    >>> product.round(4).tolist(), both.tolist()
    ([0.5, 0.1592], [0.5, 0.25])
    """
    cosine = np.divide(covariance, size, out=np.zeros_like(covariance), where=size > 0)
    np.clip(cosine, -1.0, 1.0, out=cosine)
    # An angle is the root of a rounding otherwise where inputs coincide, and kernels indefinite.
    cosine[cosine > 1.0 - _ROUNDING] = 1.0
    sine = np.sqrt((1.0 - cosine) * (1.0 + cosine))
    both = (np.pi - np.arctan2(sine, cosine)) / (2.0 * np.pi)
    return size * (sine / (2.0 * np.pi) + both * cosine), both


def infinite_width_kernels(
    x1: ArrayLike,
    x2: ArrayLike | None = None,
    *,
    layers: int,
    parameterization: str = "ntk",
) -> tuple[Array, Array]:
    """Covariance and tangent kernel of one output of an infinitely wide ReLU MLP.

    Parameters
    ----------
    x1 : array_like, shape (n1, m)
        Inputs in rows.
    x2 : array_like, shape (n2, m), optional
        Other inputs; ``x1`` by default.
    layers : int
        Number L of linear maps; there are L - 1 hidden layers.
    parameterization : {"ntk", "standard"}
        Parameterisation, see the module. In "standard" the tangent kernel is divided by the width
        of the hidden layers, and L is at least 2.

    Returns
    -------
    covariance, tangent : ndarray, shape (n1, n2)
        E f(x) f(x') and Theta of a single output, over the draws of the weights. A network of d
        outputs has the tangent kernel Theta times the identity, with trace d Theta.

    Raises
    ------
    ValueError
        If inputs are not finite matrices with equal numbers of columns, ``layers`` is too small, or
        the parameterisation unknown.

    Notes
    -----
    arXiv 1806.07572, theorem 1, in the parameterisation of the module's docstring. The diagonals
    are ``|x|^2 / m`` and, in "ntk", ``L |x|^2 / m``. Angles below 1.4e-7
    count as zero.

    Examples
    --------
    >>> covariance, tangent = infinite_width_kernels([[2.0, 0.0], [0.0, 2.0]], layers=2)
    >>> covariance.round(4).tolist(), tangent.round(4).tolist()
    ([[2.0, 0.6366], [0.6366, 2.0]], [[4.0, 0.6366], [0.6366, 4.0]])
    """
    x1 = finite_array("x1", x1, 2)
    x2 = x1 if x2 is None else finite_array("x2", x2, 2)
    if x1.shape[1] != x2.shape[1] or x1.shape[1] == 0:
        raise ValueError(
            f"x1 has shape {x1.shape} and x2 {x2.shape}; expected (n1, m) and (n2, m), m above 0"
        )
    if parameterization not in PARAMETERIZATIONS:
        raise ValueError(
            f"parameterization is {parameterization!r}; expected one of {PARAMETERIZATIONS}"
        )
    standard = parameterization == "standard"
    layers = whole_number("layers", layers, 2 if standard else 1)
    m = x1.shape[1]
    gain = 1.0 if layers == 1 else 2.0
    covariance = gain * x1 @ x2.T / m
    # Diagonals of q_l: a ReLU halves the mean square, which a gain of 2 restores.
    size = np.sqrt(np.outer(np.sum(x1**2, axis=1), np.sum(x2**2, axis=1))) * gain / m
    tangent = np.zeros_like(covariance) if standard else covariance.copy()
    for layer in range(2, layers + 1):
        product, both = relu_moments(covariance, size)
        gain = 1.0 if layer == layers else 2.0
        covariance = gain * product
        tangent = (product if standard else covariance) + gain * both * tangent
        size = gain * size / 2.0
    return covariance, tangent
