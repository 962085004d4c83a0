"""Reading pictures back: the numbers behind every mark of a panel."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


@pytest.fixture
def figure_of(monkeypatch):
    """Draw a folder and get the figure, whose pixels are not written."""
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: saved.append(figure))

    def drawn(draw, folder, *options):
        draw(folder, *options)
        (figure,) = saved
        saved.clear()
        return figure

    return drawn


def points(marks):
    """Arrays of shape (k, 2); ``marks`` are pairs of x and y, either of them may be one number."""
    return [np.transpose(np.broadcast_arrays(*mark)).astype(float).reshape(-1, 2) for mark in marks]


def _same(drawn, expected):
    left = points(expected)
    for mark in points(drawn):
        fits = [
            place
            for place, other in enumerate(left)
            if mark.shape == other.shape
            and np.allclose(mark, other, rtol=1e-9, atol=1e-12, equal_nan=True)
        ]
        assert fits, f"drawn and not expected: {mark.tolist()}"
        left.pop(fits[0])
    assert not left, f"expected and not drawn: {[mark.tolist() for mark in left]}"


@pytest.fixture
def same_lines():
    """All lines of a panel are those expected, in any order; empty ones serve the legend."""

    def check(axes, expected):
        _same([line.get_data() for line in axes.get_lines() if len(line.get_xdata())], expected)

    return check


@pytest.fixture
def same_segments():
    """All segments of a panel (bars of errors, upright lines) are those expected."""

    def check(axes, expected):
        found = [c for c in axes.collections if isinstance(c, LineCollection)]
        _same([part.T for one in found for part in one.get_segments()], expected)

    return check


@pytest.fixture
def same_bands():
    """All bands between two curves are those expected, given as (x, low, high)."""

    def corners(vertices):
        return np.unique(np.asarray(vertices, dtype=float).round(12), axis=0).T

    def check(axes, expected):
        found = [c for c in axes.collections if isinstance(c, PolyCollection)]
        _same(
            [corners(one.get_paths()[0].vertices) for one in found],
            [
                corners(np.transpose([[*x, *x], [*low, *high]]).astype(float))
                for x, low, high in expected
            ],
        )

    return check


@pytest.fixture
def same_boxes():
    """All bars and spans of a panel are those expected, given as (left, right), (low, high)."""

    def check(axes, expected):
        found = [p.get_bbox() for p in axes.patches if isinstance(p, Rectangle)]
        _same([(sorted(b.intervalx), sorted(b.intervaly)) for b in found], expected)

    return check


@pytest.fixture
def same_dots():
    """All clouds of dots of a panel are those expected."""

    def check(axes, expected):
        found = [c for c in axes.collections if isinstance(c, PathCollection)]
        _same([np.asarray(one.get_offsets()).T for one in found], expected)

    return check
