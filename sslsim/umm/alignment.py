r"""Distances between the distributions of early and of late features, D(P_last, P_early).

As distributions over the 2N views of a batch (``volume``, ``gradient``): early features count as
uniform, and the late part f_l changes their density by its volume,

    p_last(i)  proportional to  p_early(i) / sqrt(det(J_i J_i^T)),     J_i the Jacobian of f_l at i;

``gradient`` replaces the volume by the norm of the loss's gradient, as the published code of
arXiv 2410.00772 does. Both distributions are compared by the Jensen-Shannon divergence.
``reduction`` and ``cka`` compare the features themselves by the inner products of all pairs of
views, which do not change under rotations of either space.

All distances are zero if early and late features agree, and have gradients with respect to the
parameters of f_l, of any order that the loss allows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import logsigmoid

from sslsim.coding_rate import coding_rate_reduction
from sslsim.core.unit_rows import unit_rows
from sslsim.measures.embeddings import linear_cka

_FLOOR = 1e-6  # least squared norm of a gradient, against the mean one of the batch
_RIDGE = 1e-8  # least squared singular value of a Jacobian, against the mean one of the batch
_SERIES = 0.03  # differences of logits below which the divergence is taken by its series


def jensen_shannon(p_logits: torch.Tensor, q_logits: torch.Tensor) -> torch.Tensor:
    r"""Jensen-Shannon divergence of two distributions given by their logits.

    Parameters
    ----------
    p_logits, q_logits : Tensor, shape (m,)
        Logarithms of the two distributions, each up to a constant; finite.

    Returns
    -------
    Tensor of float64, shape ()
        Divergence in nats, from 0 (only for equal distributions) to log 2. Symmetric and
        differentiable.

    Raises
    ------
    ValueError
        If shapes differ or are not (m,), or a logit is not finite.

    Notes
    -----
    With m = (p + q) / 2, delta = log q - log p and sigma the logistic function, JS is
    ``sum_i m_i (log 2 - H(sigma(delta_i)))``, H the entropy of a coin: the information of a draw
    about the distribution that it came from. All terms are positive, so none cancel.

    Examples
    --------
    >>> p = torch.tensor([0.0, 1.0])
    >>> jensen_shannon(p, p + 7).item(), round(jensen_shannon(p, 900 * p - 450).item(), 4)
    (0.0, 0.1037)
    """
    if p_logits.ndim != 1 or p_logits.shape != q_logits.shape or len(p_logits) < 1:
        raise ValueError(
            f"logits have shapes {tuple(p_logits.shape)} and {tuple(q_logits.shape)}; expected "
            "(m,), equal"
        )
    logits = torch.stack([p_logits.double(), q_logits.double()])
    if not bool(logits.isfinite().all()):
        raise ValueError("logits hold NaN or infinite values; expected finite numbers")
    p, q = torch.log_softmax(logits, dim=1)
    middle = (p.exp() + q.exp()) / 2
    delta = q - p
    small = delta.abs() < _SERIES
    # Each branch gets arguments in its range: torch.where would let gradients of NaN pass.
    near = torch.where(small, delta, 0.0).square()
    series = near * (1 / 8 - near * (1 / 64 - near * (1 / 576 - near * 17 / 92160)))
    far = torch.where(small, 1.0, delta)
    coin = math.log(2) + far.sigmoid() * logsigmoid(far) + (-far).sigmoid() * logsigmoid(-far)
    return (middle * torch.where(small, series, coin)).sum()


def gradient_logits(loss: torch.Tensor, early: Sequence[torch.Tensor]) -> torch.Tensor:
    """Logits of P_last as published: P_last(i) proportional to 1 / |dL / dz_e,i|.

    Parameters
    ----------
    loss : Tensor, shape ()
        Loss of a batch.
    early : sequence of Tensor, each of shape (r, ...), m rows in all
        Early features of the batch's views, leaves of the graph of the loss.

    Returns
    -------
    Tensor of float64, shape (m,)
        Logits, differentiable. A multiple of the loss changes them by a constant only; they are
        equal if the loss has no gradient.

    Notes
    -----
    arXiv 2410.00772, section 5, in the form of its code, plus a floor: 1e-6 of the mean squared
    norm is added to each squared norm. Without it, a view without active units would get the whole
    distribution, and derivatives would not be finite.

    Examples
    --------
    >>> z = torch.tensor([[1.0], [2.0]], requires_grad=True)
    >>> gradient_logits(z.square().sum(), [z]).softmax(0)  # norms are 2 and 4
    tensor([0.6667, 0.3333], dtype=torch.float64, grad_fn=<SoftmaxBackward0>)
    """
    gradients = torch.autograd.grad(loss, tuple(early), create_graph=True, materialize_grads=True)
    # Before squaring, which float32 loses at 1e-23.
    flat = torch.cat([g.flatten(1) for g in gradients]).double()
    largest = flat.detach().abs().amax()
    squares = (flat / torch.where(largest > 0, largest, 1.0)).square().sum(dim=1)
    mean = squares.mean()
    return -0.5 * (squares + torch.where(mean > 0, _FLOOR * mean, 1.0)).log()


def volume_logits(
    late: Callable[[torch.Tensor], torch.Tensor], early: torch.Tensor
) -> torch.Tensor:
    """Logits of P_last by the exact change of volume, -1/2 logdet(J J^T).

    Parameters
    ----------
    late : callable
        f_l, (m, ...) -> (m, d), each row on its own: no statistics of the batch.
    early : Tensor, shape (m, ...)
        Early features.

    Returns
    -------
    Tensor of float64, shape (m,)
        Logits, differentiable with respect to the parameters of ``late``. The determinant is that
        of the smaller of J J^T and J^T J, so that the volume is the product of singular values.

    Notes
    -----
    arXiv 2410.00772, section 5: f_l is continuous and piecewise affine. To each squared singular
    value, 1e-8 times the mean over the batch is added: where a ReLU network loses dimensions, the
    density is infinite and the logit is large but finite. A multiple of ``late`` has the same
    distribution. All m Jacobians of shape (d, features) are in memory at the same time, so this is
    for small networks.

    Examples
    --------
    >>> z = torch.tensor([[1.0], [2.0]])
    >>> volume_logits(torch.square, z).softmax(0)  # slopes are 2 and 4
    tensor([0.6667, 0.3333], dtype=torch.float64)
    """

    def late_of_row(row: torch.Tensor) -> torch.Tensor:
        return late(row[None])[0]

    with warnings.catch_warnings():
        # torch warns of operations without a rule for batches; they are slow, but correct.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        jacobians = torch.func.vmap(torch.func.jacrev(late_of_row))(early.detach())
    flat = jacobians.flatten(2).double()  # (m, d, features)
    if flat.shape[1] > flat.shape[2]:
        flat = flat.mT
    gram = flat @ flat.mT
    mean = gram.diagonal(dim1=1, dim2=2).mean()
    # If all Jacobians are zero, all volumes are equal.
    ridge = torch.where(mean > 0, _RIDGE * mean, 1.0)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    root = torch.linalg.cholesky(gram + ridge * eye)
    return -root.diagonal(dim1=1, dim2=2).log().sum(dim=1)


def uniform_divergence(logits: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence from the uniform distribution, P_early.

    Parameters
    ----------
    logits : Tensor, shape (m,)
        Logits of P_last.

    Returns
    -------
    Tensor of float64, shape ()
        Divergence in nats, from 0 to log 2.

    Examples
    --------
    >>> uniform_divergence(torch.full((3,), 5.0)).item()
    0.0
    """
    return jensen_shannon(logits, torch.zeros_like(logits))


def reduction_distance(early: torch.Tensor, late: torch.Tensor, eps: float) -> torch.Tensor:
    r"""Coding rate reduction of early and late features as two groups.

    Parameters
    ----------
    early, late : Tensor, shape (m, p) and (m, q)
        Features of the same views; they are scaled to unit norm here.
    eps : float
        Distortion.

    Returns
    -------
    Tensor of float64, shape ()
        DeltaR in nats, at least 0, infinitely differentiable.

    Raises
    ------
    ValueError
        If the numbers of rows differ, features are not finite or ``eps`` is not above zero.

    Notes
    -----
    The two layers differ in width, and their coordinates are not comparable. The samples of the
    coding rate (arXiv 2006.08558, eq. 4) are therefore the p + q coordinates as vectors over the
    views, with mean squared norm one in both groups. DeltaR is zero if and only if the second
    moments of both groups are equal, that is, if the cosines of all pairs of views are equal.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    >>> wider = torch.cat([z, torch.zeros(2, 3)], dim=1)
    >>> abs(reduction_distance(z, 3 * wider, eps=0.5).item()) < 1e-12
    True
    """
    _same_rows(early, late)
    columns = []
    for z in (early, late):
        unit = unit_rows(z.double())
        columns.append(math.sqrt(z.shape[1] / len(z)) * unit.T)
    widths = torch.tensor([early.shape[1], late.shape[1]], device=late.device)
    groups = torch.arange(2, device=late.device).repeat_interleave(widths)
    return coding_rate_reduction(torch.cat(columns), groups, eps)


def cka_distance(early: torch.Tensor, late: torch.Tensor) -> torch.Tensor:
    """One minus the linear centred kernel alignment of early and late features.

    Parameters
    ----------
    early, late : Tensor, shape (m, p) and (m, q)
        Features of the same views.

    Returns
    -------
    Tensor of float64, shape ()
        Distance from 0 (equal up to rotation, scale and shift) to 1. Differentiable.

    Raises
    ------
    ValueError
        As in ``sslsim.measures.embeddings.linear_cka``.

    Notes
    -----
    arXiv 1905.00414, section 3.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> abs(cka_distance(z, 3 * z.flip(1)).item()) < 1e-12
    True
    """
    return 1 - linear_cka(early, late)


def _same_rows(early: torch.Tensor, late: torch.Tensor) -> None:
    if early.ndim != 2 or late.ndim != 2 or len(early) != len(late):
        raise ValueError(
            f"features have shapes {tuple(early.shape)} and {tuple(late.shape)}; expected (m, p) "
            "and (m, q) of the same views"
        )
