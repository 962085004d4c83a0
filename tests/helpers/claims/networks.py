"""Wide networks, convnets, and their kernels."""

from math import exp, log

from claims.page import Page
from claims.stored import number, stored

WAYS, PREDICTIONS = ("last", "centred"), ("kernel", "full_kernel", "limit")
OTHER = {"relu:1": "relu_1", "relu:2": "relu_2", "conv:1": "conv_1"}


def _wide(*path):
    return stored("wide/wide.json", "ways", *path)


def _percent(share):
    """As tables of errors write it."""
    return f"{100 * share:.0f} %" if share >= 0.995 else f"{100 * share:.1f} %"


def _with_interval(way, kind, place=-1):
    found = _wide(way, kind)
    mean, low, high = (100 * found[key][place] for key in ("geometric_mean", "low", "high"))
    return f"{mean:.1f} % [{low:.1f}, {high:.1f}]"


def errors_by_width():
    """Rows of the first table."""
    rows = []
    for place, width in enumerate(stored("wide/wide.json", "widths")):
        cells = [
            _percent(_wide(way, kind, "geometric_mean", place))
            for way in WAYS
            for kind in PREDICTIONS
        ]
        rows.append(f"| {width} | {' | '.join(cells)} |")
    slopes = [number(_wide(way, kind, "exponent"), 2) for way in WAYS for kind in PREDICTIONS]
    return [*rows, f"| exponent | {' | '.join(slopes)} |"]


def widest_with_intervals():
    """What the largest width of the table says, both ways."""
    last, trace, blocks = (
        _with_interval(way, kind)
        for way, kind in (("last", "kernel"), ("centred", "kernel"), ("centred", "full_kernel"))
    )
    return f"with `last` {last}; with `centred` {trace} from the trace and {blocks} from all blocks"


def late_slope():
    """Exponent between the last two widths."""
    before, after = _wide("last", "kernel", "geometric_mean")[-2:]
    return f"From 1024 to 4096 the error falls with exponent {log(after / before) / log(4):.2f}"


def beyond():
    """Networks of width 16384, and a smaller initial scale."""
    errors = stored(
        "wide_other/widest/wide.json", "ways", "centred", "kernel", "mean_relative_error"
    )
    narrow, wide = ([f"{100 * error:.1f} %" for error in row] for row in errors)
    small, usual = (
        stored(f"wide_other/scale_{scale}/wide.json", "ways", "centred", "kernel")
        for scale in ("1e-6", "1e-3")
    )
    worse, error = (f"{100 * each['geometric_mean'][0]:.0f} %" for each in (small, usual))
    return [
        f"two networks of width 16384 are off by {wide[0]} and {wide[1]}, networks of the same "
        f"seeds and width 4096 by {narrow[0]} and {narrow[1]}",
        f"A smaller alpha makes it worse: {worse} instead of {error} at width 1024 for alpha",
    ]


def errors_by_depth():
    """Rows of the second table."""
    rows = []
    for kernel, name in OTHER.items():
        result = stored(f"wide_other/{name}/wide.json")
        for place, width in enumerate(result["widths"]):
            cells = []
            for way in WAYS:
                found = result["ways"][way]
                alone = found["data_alone"]
                errors = [found[kind]["geometric_mean"][place] for kind in ("kernel", "limit")]
                errors.append(_geometric(alone["mean_relative_error"][place]))
                cells += [_percent(error) for error in errors]
                cells.append(f"{100 * alone['inside'][place]:.0f} %")
            rows.append(f"| {kernel}, {width} | {' | '.join(cells)} |")
    return rows


def from_data_alone():
    """What pairs alone say of the widest networks."""
    found = [
        stored(f"wide_other/{name}/wide.json", "ways", "last", "data_alone", "mean_relative_error")
        for name in OTHER.values()
    ]
    one, two, conv = (f"{100 * _geometric(errors[-1]):.0f} %" for errors in found)
    return (
        f"step times of networks of width 512 follow from the pairs alone to {one} (one hidden "
        f"layer) and {two} (two), those of a convolutional network of 256 channels to {conv}"
    )


def _geometric(errors):
    return exp(sum(log(error) for error in errors) / len(errors))


WIDE = Page(
    "experiments/docs/wide.md",
    held=(
        errors_by_width,
        widest_with_intervals,
        late_slope,
        beyond,
        errors_by_depth,
        from_data_alone,
    ),
    said={
        "definition": [
            "with 90 % intervals over three networks",
            "share of measured step times in the 90 % interval of",
            "are above 0.95.",
        ]
    },
)
PAGES = (WIDE,)
