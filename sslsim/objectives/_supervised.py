"""Supervised control: cross-entropy of class logits."""

from __future__ import annotations

import torch

from sslsim.objectives._common import batch


def supervised(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits, a control for the self-supervised objectives.

    Parameters
    ----------
    logits : Tensor, shape (n, k)
        Unnormalised log-probabilities of k classes, n >= 1.
    labels : Tensor of int64, shape (n,)
        Classes from 0 to k - 1.

    Returns
    -------
    Tensor, scalar
        Mean of ``-log softmax(logits)[label]`` in nats. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If ``logits`` is not (n, k), or ``labels`` not (n,) of int64.

    Notes
    -----
    This is the loss of the supervised baselines in arXiv 2002.05709. torch checks that labels are
    below k: a check here would make the host wait for the device.

    Examples
    --------
    >>> round(float(supervised(torch.zeros(3, 10), torch.arange(3))), 4)
    2.3026
    """
    (logits,) = batch(least=1, logits=logits)
    if labels.shape != logits.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected int64 of shape "
            f"({len(logits)},)"
        )
    return torch.nn.functional.cross_entropy(logits, labels)
