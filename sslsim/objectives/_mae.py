"""Masked autoencoder: the pixels of hidden patches are reconstructed."""

from __future__ import annotations

import torch

from sslsim.objectives._common import positive, working_precision


def mae(
    prediction: torch.Tensor,
    patches: torch.Tensor,
    masked: torch.Tensor,
    *,
    normalize: bool = True,
    eps: float = 1e-6,
) -> torch.Tensor:
    """Mean squared error on masked patches.

    Parameters
    ----------
    prediction : Tensor, shape (n, l, p)
        The decoder's output for all l patches of each image.
    patches : Tensor, shape (n, l, p)
        Images, cut into l patches of p values. No gradient flows into them.
    masked : Tensor of int64, shape (n, m)
        Indices of the masked patches of each image, m >= 1; only these count.
    normalize : bool
        Whether to shift and scale each patch of the images to mean 0 and variance 1 (unbiased).
    eps : float
        Number added to each variance under the square root.

    Returns
    -------
    Tensor, scalar
        Mean over images, masked patches and their values; about 1 for a prediction of zeros if
        targets are normalised. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes differ or are not (n, l, p), ``masked`` is not (n, m) of int64 with 1 <= m <= l,
        patches to be normalised have one value, or ``eps`` is not positive.

    Notes
    -----
    arXiv 2111.06377, section 3, "Reconstruction target".

    Examples
    --------
    >>> patches = torch.tensor([[[0.0, 2.0], [5.0, 5.0]]])
    >>> round(float(mae(torch.zeros(1, 2, 2), patches, torch.tensor([[0]]))), 5)
    0.5
    >>> float(mae(patches, patches, torch.tensor([[0, 1]]), normalize=False))
    0.0
    """
    if prediction.dim() != 3 or prediction.shape != patches.shape or 0 in prediction.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} and patches {tuple(patches.shape)}; "
            "expected (n, l, p), equal for both"
        )
    n, length, values = prediction.shape
    fits = masked.dim() == 2 and len(masked) == n and 1 <= masked.shape[1] <= length
    if not fits or masked.dtype != torch.int64:
        raise ValueError(
            f"masked is {masked.dtype} of shape {tuple(masked.shape)}; expected int64 of shape "
            f"({n}, m) with m from 1 to {length}"
        )
    positive(eps=eps)
    if normalize and values < 2:
        raise ValueError("patches have one value; expected two or more to normalise them")
    index = masked[:, :, None].expand(-1, -1, values)  # (n, m, p)
    predicted = working_precision("prediction", prediction).gather(1, index)
    target = working_precision("patches", patches).detach().gather(1, index)
    if normalize:
        variance, mean = torch.var_mean(target, dim=2, keepdim=True)
        target = (target - mean) / torch.sqrt(variance + eps)
    return (predicted - target).square().mean()
