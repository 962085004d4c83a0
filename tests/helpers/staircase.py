"""Planted staircases and curves without steps."""

import numpy as np
from scipy.special import expit


def record_times(T, end=100.0, spacing="uniform"):
    if spacing == "uniform":
        return np.linspace(0.0, end, T)
    return np.geomspace(end / 100, end, T)


def staircase(
    times,
    middles,
    widths,
    heights,
    *,
    drift=0.0,
    additive=0.0,
    multiplicative=0.0,
    rng=None,
    ordered=False,
):
    """Logistic rises that drift on after their step, with noise of two kinds.

    ``drift`` is the growth from the step to the end of the run as a share of the height,
    ``additive`` the noise in heights, ``multiplicative`` in values; ``ordered`` sorts each record
    descending, as eigenvalues are.
    """
    after = (times[:, None] - middles) / (times[-1] - times[0])
    curves = (
        heights * (1 + drift * np.maximum(after, 0)) * expit((times[:, None] - middles) / widths)
    )
    if rng is not None:
        scale = heights.min() if ordered else heights
        curves = curves * (1 + multiplicative * rng.standard_normal(curves.shape))
        curves = curves + additive * scale * rng.standard_normal(curves.shape)
    return -np.sort(-curves, axis=1) if ordered else curves


def planted_steps(rng, times, k):
    """Middles at least four widths from the ends, and 1.7 times both widths from each other.

    Widths are between one and a half gaps of the records and 0.08 of the run. Rises from a tenth to
    nine tenths are 4.4 widths long, so that those of neighbours overlap by one width at most.
    """
    run = times[-1] - times[0]
    middles, widths = [], []
    for _ in range(200):
        if len(middles) == k:
            break
        index = rng.uniform(3, len(times) - 4)
        middle = np.interp(index, np.arange(len(times)), times)
        gap = np.diff(times)[int(index)]
        if 1.5 * gap > 0.08 * run:
            continue
        width = np.exp(rng.uniform(np.log(1.5 * gap), np.log(0.08 * run)))
        room = 4 * width
        if middle - times[0] < room or times[-1] - middle < room:
            continue
        if all(abs(middle - m) > 1.7 * (width + w) for m, w in zip(middles, widths, strict=True)):
            middles.append(middle)
            widths.append(width)
    order = np.argsort(middles)
    heights = np.sort(rng.uniform(0.2, 1.0, len(middles)))[::-1]
    return np.array(middles)[order], np.array(widths)[order], heights
