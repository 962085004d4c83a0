"""Contrastive losses: pull the views of a sample together, push other samples apart."""

from __future__ import annotations

from typing import Any

import torch

from sslsim.core.unit_rows import unit_rows
from sslsim.objectives._common import batch, positive

SIMILARITIES = ("cosine", "dot")
DIAGONALS = ("exclude", "include")


def simclr(
    z: torch.Tensor,
    z_prime: torch.Tensor,
    *,
    similarity: str = "cosine",
    temperature: float = 0.5,
) -> torch.Tensor:
    """NT-Xent, the normalised temperature-scaled cross-entropy.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of the two views of the whole batch, n >= 2.
    similarity : {"cosine", "dot"}
        Cosine, as in the paper, or the inner product of the embeddings.
    temperature : float
        Divisor of similarities. Default 0.5; the paper has 0.1 on ImageNet and 0.5 on CIFAR-10.

    Returns
    -------
    Tensor, scalar
        Loss in nats: the mean over all 2 n embeddings of ``-log softmax`` at the other view of the
        sample, among the 2 n - 1 other embeddings. It is ``log(2 n - 1)`` if all similarities are
        equal. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, d), n < 2, ``similarity`` is unknown or ``temperature`` not
        positive.

    Notes
    -----
    arXiv 2002.05709, eq. 1 and algorithm 1. The cosine with an embedding of zeros is zero.

    Examples
    --------
    >>> z = torch.eye(2)
    >>> bool(torch.isclose(simclr(z, z, temperature=1.0), torch.tensor(1 + 2 / torch.e).log()))
    True
    """
    z, z_prime = batch(z=z, z_prime=z_prime)
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity is {similarity!r}; expected one of {', '.join(SIMILARITIES)}")
    positive(temperature=temperature)
    both = torch.cat([z, z_prime])  # (2 n, d)
    if similarity == "cosine":
        both = unit_rows(both)
    n, indices = len(z), torch.arange(len(both), device=z.device)
    itself = torch.diag(both.new_full((2 * n,), -torch.inf))
    if torch.compiler.is_compiling():  # which traces no function with a rule of its own
        logits = torch.addmm(itself, both, both.T, alpha=1 / temperature)  # (2 n, 2 n)
    else:
        logits = _Products.apply(both, itself, 1 / temperature)
    return torch.nn.functional.cross_entropy(logits, (indices + n) % (2 * n))


class _Products(torch.autograd.Function):
    """``offset + scale Z Z^T``: its gradient is one product of matrices, where autograd has two."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: torch.Tensor, offset: torch.Tensor, scale: float) -> torch.Tensor:
        return torch.addmm(offset, z, z.T, alpha=scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        z, _, ctx.scale = inputs
        ctx.save_for_backward(z)
        ctx.save_for_forward(z)

    @staticmethod
    def backward(ctx: Any, change: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (z,) = ctx.saved_tensors
        return ctx.scale * (change + change.T) @ z, None, None

    @staticmethod
    def jvp(ctx: Any, dz: torch.Tensor, *_: Any) -> torch.Tensor:
        (z,) = ctx.saved_tensors
        half = ctx.scale * dz @ z.T
        return half + half.T


def moco_v3(
    prediction: torch.Tensor,
    prediction_prime: torch.Tensor,
    target: torch.Tensor,
    target_prime: torch.Tensor,
    *,
    temperature: float = 0.2,
) -> torch.Tensor:
    """MoCo v3, InfoNCE of predictions with the teacher's embeddings of the other view.

    Parameters
    ----------
    prediction, prediction_prime : Tensor, shape (n, d)
        Outputs of the predictor for the first and the second view of the whole batch, n >= 2.
    target, target_prime : Tensor, shape (n, d)
        Embeddings of the first and the second view by the teacher. No gradient flows into them.
    temperature : float
        Divisor T of cosines. Default 0.2, as in the paper for vision transformers; the authors'
        code has 1 for ResNet-50.

    Returns
    -------
    Tensor, scalar
        Sum over both directions of ``2 T`` times the mean of ``-log softmax`` at the same sample,
        among the other view's targets of all n samples. It is ``4 T log(n)`` if all cosines are
        equal. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, d), n < 2 or ``temperature`` is not positive.

    Notes
    -----
    arXiv 2104.02057, eq. 1 and algorithm 1. Unlike in :func:`simclr`, no embedding of the same view
    is a negative. The cosine with an embedding of zeros is zero.

    Examples
    --------
    >>> z = torch.eye(2)
    >>> wanted = 4 * torch.tensor(1 + 1 / torch.e).log()
    >>> bool(torch.isclose(moco_v3(z, z, z, z, temperature=1.0), wanted))
    True
    """
    prediction, prediction_prime, target, target_prime = batch(
        prediction=prediction,
        prediction_prime=prediction_prime,
        target=target,
        target_prime=target_prime,
    )
    positive(temperature=temperature)
    one = _info_nce(prediction, target_prime, temperature)
    return 2 * temperature * (one + _info_nce(prediction_prime, target, temperature))


def _info_nce(query: torch.Tensor, key: torch.Tensor, temperature: float) -> torch.Tensor:
    logits = unit_rows(query) @ unit_rows(key.detach()).T / temperature  # (n, n)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(query), device=query.device))


def spectral_contrastive(
    z: torch.Tensor, z_prime: torch.Tensor, *, diagonal: str = "exclude"
) -> torch.Tensor:
    """Spectral contrastive loss, ``-2 E[f(x)^T f(x+)] + E[(f(x)^T f(x-))^2]``.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of the two views of the whole batch, n >= 2, neither centred nor scaled.
    diagonal : {"exclude", "include"}
        Pairs (z_i, z'_j) that represent x and an independent x-. ``"exclude"``: pairs of different
        samples, as in the authors' code; the loss of a batch is then an unbiased estimate of that
        of the population. ``"include"``: all n^2 pairs; this is the exact loss if the n samples are
        the whole population, where x- comes from the same sample with probability 1 / n.

    Returns
    -------
    Tensor, scalar
        Loss. With ``"include"`` and equal views it is ``||Z^T Z / n - I||_F^2 - d``, with minimum
        -d; the constant is left out, as in the paper. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, d), n < 2, or ``diagonal`` is unknown.

    Notes
    -----
    arXiv 2106.04156, section 3.2. The authors' code also shrinks embeddings to a ball, which is not
    part of the loss.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> float(spectral_contrastive(z, z, diagonal="include")), float(spectral_contrastive(z, z))
    (-2.0, -4.0)
    """
    z, z_prime = batch(z=z, z_prime=z_prime)
    if diagonal not in DIAGONALS:
        raise ValueError(f"diagonal is {diagonal!r}; expected one of {', '.join(DIAGONALS)}")
    n = len(z)
    products = z @ z_prime.T  # (n, n)
    attraction = products.diagonal().mean()
    if diagonal == "include":
        return products.square().mean() - 2 * attraction
    others = products.square().sum() - products.diagonal().square().sum()
    return others / (n * (n - 1)) - 2 * attraction
