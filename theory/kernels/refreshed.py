r"""The flow of a linear model whose kernel is replaced at given times.

In function space, with F (2n, d) the embeddings of the stacked views, gradient flow of Barlow Twins
with a constant kernel K is (arXiv 2303.15438, section on kernels)

    dF/dt = 4 K Z F (I - C),    C = F^T Z F,    Z = P / (2n),

with P the swap of the two halves. Modes need not be matched, there is no inverse root of K, and the
start need not be small. If the start is aligned with the modes of K_Gamma, the eigenvalues of C are
the logistic curves of :mod:`theory.linear.closed_form`. The tangent kernel of a network changes in
training: at the times of new kernels, K is replaced and F continues.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from theory.arrays import Array, finite_array, real_array, symmetric_matrix

_RTOL = 1e-9
_ASYMMETRY = 1e-5  # of kernels in float32, as in theory.kernels.modes


def refreshed_curves(
    times: ArrayLike, starts: ArrayLike, kernels: ArrayLike, embeddings: ArrayLike
) -> Array:
    """Eigenvalues of C along the flow, where each kernel applies until the next one.

    Parameters
    ----------
    times : array_like, shape (T,)
        Flow times (learning rate x step) of the result, strictly ascending, from ``starts[0]``.
    starts : array_like, shape (c,)
        Flow times from which the kernels apply, strictly ascending; the last has no end.
    kernels : array_like, shape (c, 2n, 2n)
        Kernel matrices of the stacked views, first views first.
    embeddings : array_like, shape (2n, d)
        Embeddings of the stacked views at ``starts[0]``, of any size.

    Returns
    -------
    ndarray, shape (T, d)
        Eigenvalues lambda of C, descending.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, a kernel is not symmetric, times do not
        ascend, or one is before ``starts[0]``.

    Notes
    -----
    arXiv 2303.15438, section on kernels, with a kernel that is piecewise constant in time. An
    explicit Runge-Kutta method of order 8 integrates to a relative error of about 1e-9, in about
    gamma_1 x (last - first time) steps, each a few products with a 2n x 2n matrix.

    Examples
    --------
    >>> kernel = np.diag([4.0, 2.0, 4.0, 2.0])  # gamma of 1 and 1/2
    >>> start = [[1e-3, 0.0], [0.0, 1e-3], [1e-3, 0.0], [0.0, 1e-3]]
    >>> refreshed_curves([0.0, 2.0, 8.0], [0.0], [kernel], start).round(3).tolist()
    [[0.0, 0.0], [0.816, 0.001], [1.0, 1.0]]
    """
    times, starts = finite_array("times", times, 1), finite_array("starts", starts, 1)
    kernels = finite_array("kernels", kernels, 3)
    state = finite_array("embeddings", embeddings, 2)
    size, dim = state.shape
    if size % 2 or size < 4 or dim < 1:
        raise ValueError(
            f"embeddings has shape {state.shape}; expected (2n, d) for both views of n >= 2 samples"
        )
    if len(starts) < 1 or kernels.shape != (len(starts), size, size):
        raise ValueError(
            f"kernels has shape {kernels.shape} and starts {starts.shape}; expected (c, {size}, "
            f"{size}) and (c,) with c of at least 1"
        )
    for name, values in (("times", times), ("starts", starts)):
        if np.any(np.diff(values) <= 0):
            raise ValueError(f"{name} do not ascend; expected every one later than the one before")
    if len(times) and times[0] < starts[0]:
        raise ValueError(f"times begin at {times[0]}; expected none before {starts[0]}")
    ends = np.append(starts[1:], np.inf)
    curves: list[Array] = [np.zeros((0, dim))]
    for kernel, start, end in zip(kernels, starts, ends, strict=True):
        kernel = symmetric_matrix("kernels", kernel, tolerance=_ASYMMETRY)
        if not len(times) or times[-1] < start:
            break
        wanted = times[(times >= start) & (times < end)]
        stop = end if np.isfinite(end) else times[-1]
        states = _integrated(kernel, state, start, np.union1d(wanted, [stop]))
        shown = cross_correlations(states[: len(wanted)])
        curves.append(np.asarray(np.linalg.eigvalsh(shown)[:, ::-1], dtype=np.float64))
        state = states[-1]
    return np.concatenate(curves)


def cross_correlations(embeddings: ArrayLike) -> Array:
    """Symmetric cross-correlation of the two views, uncentred.

    Parameters
    ----------
    embeddings : array_like, shape (..., 2n, d)
        Embeddings of the stacked views, first views first.

    Returns
    -------
    ndarray, shape (..., d, d)
        ``C = F^T P F / (2n)``.

    Raises
    ------
    ValueError
        If the number of rows is not even.

    Examples
    --------
    >>> cross_correlations([[1.0], [2.0], [3.0], [4.0]]).tolist()
    [[5.5]]
    """
    f = real_array("embeddings", embeddings)
    if f.ndim < 2 or f.shape[-2] % 2 or f.shape[-2] == 0:
        raise ValueError(f"embeddings has shape {f.shape}; expected (..., 2n, d) for both views")
    n = f.shape[-2] // 2
    half = np.swapaxes(f[..., :n, :], -1, -2) @ f[..., n:, :] / (2 * n)
    return half + np.swapaxes(half, -1, -2)


def _integrated(kernel: Array, start: Array, begin: float, at: Array) -> Array:
    """Embeddings in the flow of one kernel, at times that are not before its beginning."""
    if at[-1] == begin:
        return start[None]
    size = len(kernel)
    force = 4.0 / size * np.roll(kernel, size // 2, axis=1)  # 4 K Z
    unit = np.eye(start.shape[1])

    def slope(_: float, flat: Array) -> Array:
        f = flat.reshape(start.shape)
        return (force @ (f @ (unit - cross_correlations(f)))).ravel()

    # The smallest mode that grows needs the same relative accuracy as the largest.
    spread = np.linalg.svd(start, compute_uv=False)
    smallest = max(spread[-1] / np.sqrt(size), 1e-9 * spread[0], 1e-300)
    flow = solve_ivp(
        slope,
        (begin, at[-1]),
        start.ravel(),
        method="DOP853",
        t_eval=at,
        rtol=_RTOL,
        atol=_RTOL * smallest,
    )
    if not flow.success:
        raise ValueError(f"the flow cannot be integrated: {flow.message}")
    return np.asarray(flow.y.T).reshape(-1, *start.shape)
