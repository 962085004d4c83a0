"""SwAV: the cluster code of one view is predicted from another."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslsim.objectives._common import batch, positive, views


def swav(
    scores: Sequence[torch.Tensor],
    *,
    temperature: float = 0.1,
    eps: float = 0.05,
    iterations: int = 3,
) -> torch.Tensor:
    """Swapped prediction: the codes of the two full views are predicted from all other views.

    Parameters
    ----------
    scores : sequence of Tensor, shape (n, k)
        Inner products of the embeddings of each view with k prototypes, both of unit length as in
        the paper; the two full views first, then any number of small crops.
    temperature : float
        Divisor of the scores in the softmax of predictions.
    eps, iterations : float, int
        Options of :func:`sinkhorn`, which computes the codes. No gradient flows into codes.

    Returns
    -------
    Tensor, scalar
        Mean over samples, over the two codes and over the views that predict them, of the
        cross-entropy ``-sum_k code_k log softmax(scores / temperature)_k`` in nats. Half precision
        is converted to float32.

    Raises
    ------
    ValueError
        If there are fewer than two views, shapes differ or are not (n, k), n < 2, or an option is
        not positive.

    Notes
    -----
    arXiv 2006.09882, eq. 2 and section 3.3. The loss is the mean of the terms, as in the authors'
    code; the paper has the sum. With two views the paper's loss is twice this one.

    Examples
    --------
    >>> scores = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> bool(swav([scores, scores]) < 1e-6), round(float(swav([scores, -scores])), 2)
    (True, 20.0)
    """
    scores = views("scores", scores)
    positive(temperature=temperature)
    predictions = [torch.log_softmax(s / temperature, dim=1) for s in scores]
    terms = []
    for i in range(2):
        code = sinkhorn(scores[i], eps=eps, iterations=iterations)
        terms += [
            -(code * prediction).sum(dim=1).mean()
            for v, prediction in enumerate(predictions)
            if v != i
        ]
    return torch.stack(terms).mean()


def sinkhorn(scores: torch.Tensor, *, eps: float = 0.05, iterations: int = 3) -> torch.Tensor:
    """Codes that use all prototypes about equally, by the Sinkhorn-Knopp iteration.

    Parameters
    ----------
    scores : Tensor, shape (n, k)
        Scores of n >= 2 embeddings with k prototypes. No gradient flows through them.
    eps : float
        Strength of the entropy that smooths the codes.
    iterations : int
        Number of rounds of normalisation, each over prototypes and then over samples.

    Returns
    -------
    Tensor, shape (n, k)
        Codes. Each row sums to one, each column to n / k in the limit of many iterations. Half
        precision is converted to float32.

    Raises
    ------
    ValueError
        If ``scores`` is not (n, k), n < 2, or an option is not positive.

    Notes
    -----
    arXiv 2006.09882, eq. 3 to 5. It uses logarithms, so that large scores do not overflow.

    Examples
    --------
    >>> sinkhorn(torch.tensor([[900.0, 0.0], [0.0, 900.0]])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    (scores,) = batch(scores=scores)
    positive(eps=eps, iterations=iterations)
    log_codes = scores.detach() / eps
    for _ in range(iterations):
        log_codes = torch.log_softmax(log_codes, dim=0)
        log_codes = torch.log_softmax(log_codes, dim=1)
    return log_codes.exp()
