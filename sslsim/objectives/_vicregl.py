"""VICRegL: VICReg of whole images and of matching places in them."""

from __future__ import annotations

import torch

from sslsim.objectives._common import working_precision
from sslsim.objectives._vicreg import vicreg, vicreg_terms


def vicregl(
    embeddings: tuple[torch.Tensor, torch.Tensor],
    maps: tuple[torch.Tensor, torch.Tensor],
    places: tuple[torch.Tensor, torch.Tensor],
    *,
    alpha: float = 0.75,
    matches: int = 20,
    sim: float = 25.0,
    std: float = 25.0,
    cov: float = 1.0,
    eps: float = 1e-4,
) -> torch.Tensor:
    """VICRegL, ``alpha`` VICReg of embeddings and ``1 - alpha`` VICReg of matched places.

    Parameters
    ----------
    embeddings : pair of Tensors, shape (n, d)
        Embeddings of the two views of the whole batch, n >= 2.
    maps : pair of Tensors, shape (n, c, h, w)
        Embedded feature maps of the two views; their heights and widths may differ.
    places : pair of Tensors, shape (n, h, w, 2)
        Position of each entry of the maps in the original image, from :func:`map_places`.
    alpha : float
        Weight of whole images, from 0 (only places) to 1 (only whole images).
    matches : int
        Number of places of each map that count, those with the nearest matches; all if there are
        fewer.
    sim, std, cov, eps : float
        As in :func:`sslsim.objectives.vicreg`, for both parts.

    Returns
    -------
    Tensor, scalar
        Half precision is converted to float32.

    Raises
    ------
    ValueError
        If shapes do not fit, n < 2, ``alpha`` is out of range, ``matches`` below 1, a weight is
        negative or ``eps`` not positive.

    Notes
    -----
    arXiv 2210.01571, eq. 1 to 3. Every place of one view is matched with the nearest place of the
    other, once by position in the original image and once by features, and the same from the other
    view. Of each of these four lists, the ``matches`` nearest pairs are used, in the order of
    places. The first pairs of all images form a batch, the second pairs another, and so on. VICReg
    of these batches is averaged over the batches and over the two views, and added over the two
    kinds of matches. The choice of matches has no gradient; both features of a match have one.

    The variance and covariance terms of the two sides of a match are added, as in VICReg's paper;
    the authors' code takes their mean.

    Examples
    --------
    >>> z, maps = torch.tensor([[1.0], [-1.0]]), torch.tensor([[[[1.0]]], [[[-1.0]]]])
    >>> places = torch.zeros(2, 1, 1, 2)
    >>> float(vicregl((z, z), (maps, maps), (places, places)))
    0.0
    """
    z, z_prime = embeddings
    whole = vicreg(z, z_prime, sim=sim, std=std, cov=cov, eps=eps)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; expected a share from 0 to 1")
    if matches < 1:
        raise ValueError(f"matches is {matches}; expected 1 or more")
    flat = [_flatten(m, p, len(z)) for m, p in zip(maps, places, strict=True)]
    if flat[0][0].shape[2] != flat[1][0].shape[2]:
        raise ValueError(
            f"maps have {flat[0][0].shape[2]} and {flat[1][0].shape[2]} channels; expected as many"
        )
    local = z.new_zeros(())
    for (features, where), (others, elsewhere) in (flat, flat[::-1]):
        with torch.no_grad():
            # Grids have many ties, which are exact only for differences of single coordinates.
            by_place = torch.cdist(
                where, elsewhere, compute_mode="donot_use_mm_for_euclid_dist"
            )  # (n, h w, h' w')
            by_features = torch.cdist(features, others)
        for distances in (by_place, by_features):
            own, other = _nearest(distances, matches)
            pairs = _rows(features, own), _rows(others, other)  # (matches, n, c) each
            local = local + vicreg_terms(*pairs, sim, std, cov, eps).mean() / 2
    return alpha * whole + (1 - alpha) * local


def map_places(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Positions of the entries of a feature map in the original image.

    Parameters
    ----------
    boxes : Tensor, shape (n, 5)
        Top, left, height and width of each view in pixels of the original image, and whether it
        was flipped left to right (1) or not (0).
    height, width : int
        Size of the feature map.

    Returns
    -------
    Tensor, shape (n, height, width, 2)
        Row and column of the centre of each entry's cell, in pixels from the corner of the
        original image.

    Raises
    ------
    ValueError
        If ``boxes`` is not (n, 5), or a size is below 1.

    Notes
    -----
    arXiv 2210.01571, section 3.2: the view is cut into height x width equal cells.

    Examples
    --------
    >>> map_places(torch.tensor([[10.0, 0.0, 4.0, 8.0, 1.0]]), 1, 2).tolist()
    [[[[12.0, 6.0], [12.0, 2.0]]]]
    """
    if boxes.dim() != 2 or boxes.shape[1] != 5:
        raise ValueError(f"boxes have shape {tuple(boxes.shape)}; expected (n, 5)")
    if height < 1 or width < 1:
        raise ValueError(f"the map is {height} x {width}; expected 1 x 1 or more")
    boxes = working_precision("boxes", boxes)
    top, left, tall, wide, flip = boxes.T[:, :, None]  # (n, 1) each
    down = (torch.arange(height, device=boxes.device, dtype=boxes.dtype) + 0.5) / height
    across = (torch.arange(width, device=boxes.device, dtype=boxes.dtype) + 0.5) / width
    across = torch.where(flip > 0.5, 1 - across, across)  # (n, width)
    rows = (top + tall * down)[:, :, None].expand(-1, -1, width)
    columns = (left + wide * across)[:, None, :].expand(-1, height, -1)
    return torch.stack([rows, columns], dim=3)


def _flatten(maps: torch.Tensor, places: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (n, h w, c) and their places (n, h w, 2)."""
    if maps.dim() != 4 or len(maps) != n or 0 in maps.shape:
        raise ValueError(f"maps have shape {tuple(maps.shape)}; expected ({n}, c, h, w)")
    expected = (n, *maps.shape[2:], 2)
    if places.shape != expected:
        raise ValueError(f"places have shape {tuple(places.shape)}; expected {expected}")
    features = working_precision("maps", maps).flatten(2).mT
    return features, working_precision("places", places).detach().flatten(1, 2)


def _nearest(distances: torch.Tensor, matches: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices (n, matches) of the places with the nearest matches, and of these matches."""
    least, nearest = distances.min(dim=2)
    # If crops coincide, all distances are equal, and a stable order selects the first places.
    own = least.sort(dim=1, stable=True).indices[:, :matches].sort(dim=1).values
    return own, nearest.gather(1, own)


def _rows(features: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Features at the given places, (matches, n, c)."""
    picked = features.gather(1, indices[:, :, None].expand(-1, -1, features.shape[2]))
    return picked.transpose(0, 1)
