"""Whether the embedding of a trained network has collapsed, by its last record."""

from __future__ import annotations

_UNIFORMITY = -1e-3  # above: embeddings vary by less than 1/50 of their length
_RANK = 1.01


def collapse(
    effective_rank: float | None, uniformity: float | None, dim: int | None = None
) -> str | None:
    """Say in one line that an embedding has collapsed.

    Parameters
    ----------
    effective_rank, uniformity : float or None
        Effective rank and uniformity in a line of ``records.jsonl``; None if they are missing.
    dim : int, optional
        Dimension of the embedding: with one, a rank of 1 is no collapse.

    Returns
    -------
    str or None
        None where it has not.

    Notes
    -----
    Collapsed is an embedding that is the same for all images (effective rank 0, or uniformity 0 on
    the sphere) or varies in one dimension alone (effective rank 1). The latter is also what a
    network shows that has learned its first mode only: the line says both.

    Examples
    --------
    >>> collapse(6.5, -2.1, dim=8)
    >>> collapse(0.0, 0.0, dim=8)
    'the embedding has collapsed: it is the same for all images'
    """
    if effective_rank == 0:
        return "the embedding has collapsed: it is the same for all images"
    if uniformity is not None and uniformity > _UNIFORMITY:
        return (
            "the embedding has collapsed: all images point the same way (uniformity "
            f"{uniformity:.2g}, 0 at worst)"
        )
    if effective_rank is not None and effective_rank < _RANK and dim != 1:
        return (
            f"the embedding has an effective rank of {effective_rank:.3f}: it has collapsed to one "
            "dimension, or learned one mode so far"
        )
    return None
