"""SimCLR: distinguish the other view of a sample from all other samples."""

from __future__ import annotations

import torch

from sslsim.core.unit_rows import unit_rows
from sslsim.objectives._common import batch, positive

SIMILARITIES = ("cosine", "dot")


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
    logits = both @ both.T / temperature  # (2 n, 2 n)
    n, indices = len(z), torch.arange(len(both), device=z.device)
    itself = torch.eye(len(both), dtype=torch.bool, device=z.device)
    logits = logits.masked_fill_(itself, -torch.inf)  # fill_diagonal_ has no rule for vmap
    return torch.nn.functional.cross_entropy(logits, (indices + n) % (2 * n))
