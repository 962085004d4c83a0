r"""Kernels of infinitely wide convolutional ReLU networks with global average pooling.

The network has L convolutions 3 x 3 without biases, a ReLU after each, then the mean over places
and a linear map, in the "ntk" parameterisation of :mod:`theory.kernels.infinite_width` with gains 2
before a ReLU and 1 in the last layer. With p, p' places of two images and d the nine offsets,

    q_1(p, p')     = 2/(9 c) sum_d x(s p + d) . x'(s p' + d),              Theta_1 = q_1,
    q_{l+1}(p, p') = 2/9 sum_d S_l(s p + d, s p' + d),
    Theta_{l+1}    = q_{l+1} + 2/9 sum_d [B_l Theta_l](s p + d, s p' + d),

where s is the stride, c the number of channels, and S_l, B_l are the moments of two ReLUs and of
their derivatives (:func:`theory.kernels.infinite_width.relu_moments`). The kernels of the output
are the means of S_L and S_L + B_L Theta_L over all p and p' (CNTK-GAP: Arora et al.,
arXiv 1904.11955, section 4). Padding is one place on every side, of zeros or around the torus.

With P = ceil(h/s) ceil(w/s) places after the first convolution, every pair of images costs
O(P^2 L) operations, so that n images cost O(n^2 P^2 L): a stride of 2 saves a factor of 16. Pairs
of images are computed in blocks of bounded memory.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, whole_number
from theory.kernels.infinite_width import relu_moments

PADDINGS = {"zero": "constant", "circular": "wrap"}
CHUNK_BYTES = 2**26
_COPIES = 10  # arrays of the size of a block that exist at the same time


def convolutional_kernels(
    x1: ArrayLike,
    x2: ArrayLike | None = None,
    *,
    depth: int,
    stride: int = 2,
    padding: str = "zero",
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Array, Array]:
    """Covariance and tangent kernel of one output of an infinitely wide convolutional network.

    Parameters
    ----------
    x1 : array_like, shape (n1, c, h, w)
        Images.
    x2 : array_like, shape (n2, c, h, w), optional
        Other images; ``x1`` by default.
    depth : int
        Number L of convolutions.
    stride : int
        Stride s of every convolution; it maps h to ceil(h / s).
    padding : {"zero", "circular"}
        What is outside the image: zeros, or its opposite side.
    chunk_bytes : int
        Memory of a block of pairs of images; one pair at least is computed at once.

    Returns
    -------
    covariance, tangent : ndarray, shape (n1, n2)
        E f(x) f(x') and Theta of a single output, over the draws of the weights.

    Raises
    ------
    ValueError
        If images are not finite, their shapes differ, or an option is out of range.

    Notes
    -----
    arXiv 1904.11955, section 4, in the parameterisation of the module's docstring.

    Examples
    --------
    >>> image = np.ones((1, 1, 4, 4))
    >>> kernels = convolutional_kernels(image, depth=1, stride=1, padding="circular")
    >>> [kernel.round(6).tolist() for kernel in kernels]
    [[[1.0]], [[2.0]]]
    """
    x1 = finite_array("x1", x1, 4)
    same = x2 is None
    x2 = x1 if x2 is None else finite_array("x2", x2, 4)
    if x1.shape[1:] != x2.shape[1:] or 0 in x1.shape[1:]:
        raise ValueError(
            f"x1 has shape {x1.shape} and x2 {x2.shape}; expected (n1, c, h, w) and (n2, c, h, w), "
            "c, h and w above 0"
        )
    depth, stride = whole_number("depth", depth, 1), whole_number("stride", stride, 1)
    chunk_bytes = whole_number("chunk_bytes", chunk_bytes, 1)
    if padding not in PADDINGS:
        raise ValueError(f"padding is {padding!r}; expected one of {', '.join(PADDINGS)}")
    places = math.prod(-(-side // stride) + 2 for side in x1.shape[2:]) ** 2
    side = max(1, math.isqrt(chunk_bytes // (8 * _COPIES * places)))
    patches = [_patches(x, stride, padding) for x in (x1, x2)]
    sizes = [_sizes(patch, depth, stride, padding) for patch in patches]
    covariance, tangent = np.empty((len(x1), len(x2))), np.empty((len(x1), len(x2)))
    for i in range(0, len(x1), side):
        rows = slice(i, i + side)
        for j in range(i if same else 0, len(x2), side):
            columns = slice(j, j + side)
            pairs = [(a[rows], b[columns]) for a, b in zip(*sizes, strict=True)]
            block = _block(patches[0][rows], patches[1][columns], pairs, stride, padding)
            for kernel, values in zip((covariance, tangent), block, strict=True):
                kernel[rows, columns] = values
                if same:
                    kernel[columns, rows] = values.T
    if same:  # blocks on the diagonal are symmetric up to rounding only
        covariance, tangent = (covariance + covariance.T) / 2, (tangent + tangent.T) / 2
    return covariance, tangent


def _block(
    patches1: Array,
    patches2: Array,
    sizes: list[tuple[Array, Array]],
    stride: int,
    padding: str,
) -> tuple[Array, Array]:
    """Both kernels of a block of images, from patches and variances of every layer."""
    fan_in = patches1.shape[-1]
    covariance = 2.0 / fan_in * np.tensordot(patches1, patches2, axes=(3, 3))
    covariance = np.ascontiguousarray(covariance.transpose(0, 3, 1, 2, 4, 5))
    tangent = covariance
    both_images = ((2, 3), (4, 5))
    for layer, (size1, size2) in enumerate(sizes):
        if layer:
            covariance = 2.0 * _averaged(covariance, stride, padding, both_images)
            tangent = covariance + 2.0 * _averaged(tangent, stride, padding, both_images)
        size = np.sqrt(size1[:, None, :, :, None, None] * size2[None, :, None, None])
        covariance, both = relu_moments(covariance, size)  # from here after the ReLU
        tangent = both * tangent
    places = (2, 3, 4, 5)
    mean = covariance.mean(axis=places)
    return mean, mean + tangent.mean(axis=places)


def _patches(x: Array, stride: int, padding: str) -> Array:
    """Inputs of every place of the first convolution, (n, h', w', 9 c)."""
    shifted = _shifts(x, stride, padding, ((2, 3),))
    return np.ascontiguousarray(np.concatenate(shifted, axis=1).transpose(0, 2, 3, 1))


def _sizes(patches: Array, depth: int, stride: int, padding: str) -> list[Array]:
    """Variances of every place before each ReLU; a ReLU halves the mean square."""
    sizes = [2.0 / patches.shape[-1] * np.sum(patches**2, axis=-1)]
    for _ in range(depth - 1):
        sizes.append(_averaged(sizes[-1], stride, padding, ((1, 2),)))
    return sizes


def _averaged(values: Array, stride: int, padding: str, axes: tuple[tuple[int, int], ...]) -> Array:
    """Mean over the nine offsets, the same one in every pair of axes."""
    first, *others = _shifts(values, stride, padding, axes)
    total = first.copy()
    for other in others:
        total += other
    total /= 9.0
    return total


def _shifts(
    values: Array, stride: int, padding: str, axes: tuple[tuple[int, int], ...]
) -> list[Array]:
    """Values at each of the nine offsets from every place of the output."""
    width = [(0, 0)] * values.ndim
    for axis in (axis for pair in axes for axis in pair):
        width[axis] = (1, 1)
    padded = np.pad(values, width, mode=PADDINGS[padding])  # type: ignore[call-overload]
    shifted = []
    for offset in product(range(3), repeat=2):
        index = [slice(None)] * values.ndim
        for pair in axes:
            for axis, start in zip(pair, offset, strict=True):
                index[axis] = slice(start, start + values.shape[axis], stride)
        shifted.append(padded[tuple(index)])
    return shifted
