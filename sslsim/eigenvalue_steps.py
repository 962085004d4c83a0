"""Steps of the recorded eigenvalues of real networks, whose noise and drift grow with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from sslsim.checks import real_array
from sslsim.step_detection import Steps, detect_steps

_ECHO = 1 / 50  # of the highest step


def detect_eigenvalue_steps(times: ArrayLike, curves: ArrayLike) -> Steps:
    """Time of the step in each of k recorded eigenvalues.

    An eigenvalue that has opened goes on to fluctuate, and often to grow, by a share of itself,
    while it was quiet near zero before. Where no step is found in the curve as it is, it is looked
    for in its square root, which evens such noise out (as for counts) and leaves less of the drift.

    Parameters
    ----------
    times : array_like, shape (T,)
        Times of at least 5 records, strictly ascending.
    curves : array_like, shape (T, k)
        Eigenvalues, for instance sorted ones of an embedding cross-correlation; what is negative
        counts as zero under the root.

    Returns
    -------
    Steps
        As of :func:`sslsim.step_detection.detect_steps`. Times are half-rises of the eigenvalue
        itself; of steps found under the root heights are those before any drift. Steps less than a
        fiftieth as high as the highest are echoes of other modes' and left out.

    Raises
    ------
    ValueError
        As :func:`sslsim.step_detection.detect_steps`.

    Examples
    --------
    >>> times = np.linspace(0, 20, 81)
    >>> noise = 1 + 0.2 * np.random.default_rng(0).standard_normal(81)
    >>> step = noise * (0.4 + 0.03 * times) / (1 + np.exp(-4 * (times - 3)))
    >>> detect_eigenvalue_steps(times, step[:, None]).times.round()
    array([3.])
    """
    times, curves = real_array("times", times), real_array("curves", curves)
    found = detect_steps(times, curves)
    missed = np.flatnonzero(~found.detected)
    roots = np.sqrt(np.maximum(curves[:, missed], 0.0))
    rooted = detect_steps(times, roots)
    for at, column in zip(missed, range(len(missed)), strict=True):
        if not rooted.detected[column]:
            continue
        tau, width, height = (
            float(values[column]) for values in (rooted.times, rooted.widths, rooted.heights)
        )
        before = roots[times < tau - 2 * width, column]
        floor = float(np.median(before)) if before.size else 0.0
        # With y = floor + height s under the root, y^2 is half way up at this share s.
        share = (np.sqrt(((floor + height) ** 2 + floor**2) / 2) - floor) / height
        found.detected[at] = True
        found.times[at] = tau + width * logit(share)
        found.standard_errors[at] = rooted.standard_errors[column]
        found.heights[at] = height * (height + 2 * floor)
        found.widths[at] = width
    echo = found.detected & (found.heights < _ECHO * found.heights.max(initial=0.0))
    return Steps(
        times=np.where(echo, np.inf, found.times),
        standard_errors=np.where(echo, np.inf, found.standard_errors),
        heights=np.where(echo, 0.0, found.heights),
        widths=np.where(echo, np.inf, found.widths),
        detected=found.detected & ~echo,
    )
