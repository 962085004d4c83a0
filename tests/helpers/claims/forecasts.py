"""Forecasts of steps."""

from functools import cache

import numpy as np

from claims.page import ROOT, Page
from claims.stored import number, stored
from sslsim.core.files import read_json

_METHODS = {"barlow_twins": "Barlow Twins", "simclr": "SimCLR (dot products)", "vicreg": "VICReg"}
_BATCHINGS = {"full batches": "fixed pairs", "fresh views": "fresh views"}
_NETWORKS = {"mlp": "MLP", "convnet": "convnet", "resnet18": "ResNet-18 with BatchNorm"}
_LAW, _OTHERS = "lagged_law", ("curves", "two_factor", "last_rate")
_AT_REST, _NOT_SETTLED = "at rest", "not settled"
_ENOUGH = 4  # runs for an interval over runs
_DRAWS = 4000


@cache
def _judged(name):
    """Forecasts of plateaus whose step came, at the size at which they are judged."""
    size = stored(f"{name}/forecast.json", "judged_at")
    return [
        entry
        for entry in stored(f"{name}/forecast.json", "forecasts")
        if entry["size"] == size and entry["measured_step_time"] is not None
    ]


def untouched():
    """Forecasts of runs that played no part in the rules."""
    return _judged("forecast")


def _design():
    return _judged("forecast_design")


def at_rest(entries):
    """Those whose mode was at rest."""
    return [entry for entry in entries if entry["state"] == _AT_REST]


def _of(entries, *words):
    """Of runs whose folder has all of the words."""
    return [entry for entry in entries if all(word in entry["run"] for word in words)]


def by_run(entries):
    """Lists of forecasts, one a run."""
    runs = dict.fromkeys(entry["run"] for entry in entries)
    return [[entry for entry in entries if entry["run"] == run] for run in runs]


def _ratios(entries, forecaster=_LAW):
    """Forecast over measured remaining time."""
    pairs = [
        (entry["step_times"][forecaster] - entry["time"], entry["measured_step_time"])
        for entry in entries
    ]
    return np.array(
        [left / (at - entry["time"]) for (left, at), entry in zip(pairs, entries, strict=True)]
    )


def relative_errors(entries, forecaster=_LAW):
    """Errors of the time left."""
    return np.abs(_ratios(entries, forecaster) - 1)


def median_error(entries, forecaster=_LAW):
    """Median error of the time left."""
    return float(np.median(relative_errors(entries, forecaster)))


def _ratio(entries, forecaster=_LAW):
    return number(np.median(_ratios(entries, forecaster)), 2)


def _inside(entries):
    return np.array(
        [
            entry["low"] <= entry["measured_step_time"] <= (entry["high"] or np.inf)
            for entry in entries
        ]
    )


def over_runs(entries, values, statistic):
    """90 % interval in per cent, by bootstrap over runs: their plateaus are not independent."""
    runs, rng = [values(run) for run in by_run(entries)], np.random.default_rng(0)
    drawn = [
        statistic(
            np.concatenate([runs[place] for place in rng.integers(len(runs), size=len(runs))])
        )
        for _ in range(_DRAWS)
    ]
    low, high = (number(100 * end, 0) for end in np.quantile(drawn, (0.05, 0.95)))
    return f"[{low}, {high}]"


def _row(label, came):
    rest = at_rest(came)
    if not rest:
        return f"| {label} | {len(came)} of {len(by_run(came))} | 0 |" + " - |" * 6
    interval = (
        f" {over_runs(rest, relative_errors, np.median)}" if len(by_run(rest)) >= _ENOUGH else ""
    )
    cells = [f"{number(100 * median_error(rest), 0)} %{interval} ({_ratio(rest)})"]
    cells += [
        f"{number(100 * median_error(rest, name), 0)} % ({_ratio(rest, name)})" for name in _OTHERS
    ]
    widths = [
        np.inf
        if entry["high"] is None
        else (entry["high"] - entry["time"]) / (entry["low"] - entry["time"])
        for entry in rest
    ]
    width = np.median(widths)
    cells += [f"{sum(_inside(rest))} of {len(rest)}"]
    cells += [number(width, 2) if np.isfinite(width) else "-"]
    return f"| {label} | {len(came)} of {len(by_run(came))} | {len(rest)} | {' | '.join(cells)} |"


def _by_batching(came):
    return [_row("all", came)] + [
        _row(f"{_METHODS[method]}, {words}", group)
        for method in _METHODS
        for batching, words in _BATCHINGS.items()
        if (group := [e for e in came if (e["method"], e["batching"]) == (method, batching)])
    ]


def _by_network(came):
    rows = []
    for method, words in _METHODS.items():
        digits = _of(came, f"digits_{method}")
        for encoder, name in _NETWORKS.items():
            of_kind = [e for e in came if (e["method"], e["encoder"]) == (method, encoder)]
            if group := [entry for entry in of_kind if entry not in digits]:
                rows.append(_row(f"{words}, {name}", group))
        rows.append(_row(f"{words}, digits, convnet", digits))
    return rows


@cache
def untouched_by_batching():
    """Rows of the first table."""
    return _by_batching(untouched())


@cache
def untouched_by_network():
    """Rows of the second table."""
    return _by_network(untouched())


@cache
def design_by_batching():
    """Rows of the third table."""
    return _by_batching(_design())


def runs():
    """How many there are."""
    design, untouched = (
        len(stored(f"{name}/forecast.json", "runs")) for name in ("forecast_design", "forecast")
    )
    return f"(design, {design} runs)", f"the {untouched} runs of seeds 1 and 2"


def states():
    """How many plateaus were forecast, and how."""
    came = untouched()
    rest, moving = (
        [entry for entry in came if entry["state"] == state] for state in (_AT_REST, _NOT_SETTLED)
    )
    return (
        f"Of the {len(came)} untouched plateaus, {len(rest)} were forecast at rest "
        f"({number(100 * len(rest) / len(came), 0)} %) and {len(moving)} before they had settled, "
        f"with a median error of {number(100 * median_error(moving), 0)} %; "
        f"{len(came) - len(rest) - len(moving)} were still queued when they were judged"
    )


@cache
def against_others():
    """The law against the rules beside it, run by run."""
    rest = at_rest(untouched())
    every = by_run(rest)
    nearer = {
        name: sum(median_error(run) < median_error(run, name) for run in every) for name in _OTHERS
    }

    def errors(entries):
        return np.stack([relative_errors(entries), relative_errors(entries, "curves")], axis=1)

    def gain(pairs):
        return float(np.diff(np.median(pairs, axis=0))[0])

    return (
        f"By the median error of a run, the law is better than the last rate in "
        f"{nearer['last_rate']} of {len(every)} runs and than curves alone in {nearer['curves']}; "
        f"over all, it is better than curves alone by {number(100 * gain(errors(rest)), 0)} points "
        f"{over_runs(rest, errors, gain)}"
    )


@cache
def coverage():
    """Without VICReg, whose intervals have no end."""
    rest = [entry for entry in at_rest(untouched()) if entry["method"] != "vicreg"]
    inside = _inside(rest)
    return (
        f"{sum(inside)} of {len(rest)} steps of Barlow Twins and SimCLR were inside their 90 % "
        f"interval ({number(100 * inside.mean(), 0)} % {over_runs(rest, _inside, np.mean)})"
    )


def momentum():
    """The same network and pairs with and without."""
    groups = [
        at_rest(_of(came, f"mlp_barlow_twins_{kind}"))
        for kind in ("fixed", "momentum_0")
        for came in (_design(), untouched())
    ]
    ratios = [_ratio(group) for group in groups]
    earlier = [_ratio(groups[place], "two_factor") for place in (1, 3)]
    return (
        f"the median ratio of forecast and measured times is {ratios[0]} (seed 0) and {ratios[1]} "
        f"(seeds 1 and 2) with momentum 0.9, and {ratios[2]} (seed 0) and {ratios[3]} (seed 1) "
        f"without. By `two_factor` it is {earlier[0]} and {earlier[1]} in the untouched runs"
    )


def vicreg():
    """What few scores allow, and convnets."""
    scores = read_json(ROOT / "experiments/studies/forecasts/calibration.json")["scores"]
    count = sum((each["method"], each["state"]) == ("vicreg", _AT_REST) for each in scores)
    ratios = [_ratio(at_rest(_of(came, "convnet_vicreg"))) for came in (untouched(), _design())]
    return (
        f"has {count} plateaus at rest in the calibration",
        f"On convnets the median forecast is {ratios[0]} times the measured time in the untouched "
        f"runs and {ratios[1]} times in the design runs",
    )


def batch_norm():
    """The one untouched run."""
    rest = at_rest(_of(untouched(), "batch_norm"))
    adaptations = [entry["adaptation"] for entry in rest]
    return (
        f"One untouched run, {len(rest)} plateaus: the median forecast of the law is "
        f"{_ratio(rest)} times the measured time, that of curves alone {_ratio(rest, 'curves')} "
        f"times; beta is {number(min(adaptations), 2)} to {number(max(adaptations), 2)} there"
    )


def adaptation():
    """What curves alone assume."""
    median = np.median([entry["adaptation"] for entry in at_rest(untouched())])
    return f"the adaptation is taken as 0.35 (median of the untouched runs: {number(median, 2)})"


def last_layer():
    """Fixed features."""
    return (
        f"With fixed features (`last_layer`) the median forecast is "
        f"{_ratio(untouched(), 'last_layer')} times the measured time"
    )


PAGES = (
    Page(
        "experiments/docs/forecast.md",
        held=(
            untouched_by_batching,
            untouched_by_network,
            design_by_batching,
            runs,
            states,
            against_others,
            coverage,
            momentum,
            vicreg,
            batch_norm,
            adaptation,
            last_layer,
        ),
        said={
            "definition": (
                "the whole rate is the mode's own within a factor e^0.4, the rate by the momentum "
                "buffers of the checkpoint is the lagged one within e^0.5, and the mode ahead "
                "moved by less than e^0.5 in ten updates",
                "VICReg: its curve, at least 0.3 of the line",
                "(above 0.2)",
                "and an adaptation of 0.35)",
                "the 90 % interval of the law's median error is a bootstrap over runs",
                "in the 90 % interval",
                "too few for a finite 90 % interval",
                "a backtest makes the forecasts of its summary, 0.001;",
            ),
        },
    ),
)
