"""Kernels and the ResNet-50."""

from functools import cache

import numpy as np

from claims.page import Page
from claims.stored import interval, number, stored
from paper_figs.captions import name_of
from paper_figs.store import RESULTS
from sslsim.core.files import read_arrays
from sslsim.measures.intervals import mean_interval
from sslsim.training.options import TrainingOptions, flow_time

_DATA = ("cifar10", "imagenette2-96")
_ENCODERS = ("resnet50", "resnet18")
_METHODS = ("barlow_twins", "simclr", "vicreg")
_CIFAR_KERNELS = 18  # of two networks, three methods and three seeds


def _signed(text):
    return text.replace("-", "\N{MINUS SIGN}")


def _mean(values):
    found = mean_interval(values, 0.9)
    return {"mean": float(found.mean), "low": float(found.low), "high": float(found.high)}


@cache
def _trainings():
    """Folders of stored trainings, by data, network, method and seed."""
    folders = [*(RESULTS / "methods").iterdir(), *(RESULTS / "resnets").iterdir()]
    names = [str(folder.relative_to(RESULTS)) for folder in folders]
    found = {}
    for name in names:
        run = stored(f"{name}/training.json")
        seed = stored(f"{name}/config.json", "options", "seed")
        found[run["data"], run["encoder"], run["method"], seed] = name
    order = (_DATA, _ENCODERS, _METHODS, range(3))
    return dict(
        sorted(
            found.items(),
            key=lambda item: [a.index(b) for a, b in zip(order, item[0], strict=True)],
        )
    )


@cache
def _updates(name):
    """Updates at which steps were detected."""
    options = stored(f"{name}/config.json", "options")
    chosen = {key: options[key] for key in ("steps", "lr", "momentum", "schedule", "warmup")}
    times = [flow_time(TrainingOptions(**chosen), step) for step in range(chosen["steps"] + 1)]
    steps = [time for time in stored(f"{name}/training.json", "step_times") if time is not None]
    return sorted(round(np.interp(step, times, range(len(times)))) for step in steps)


def _loss(name, record):
    return number(stored(f"{name}/training.json", record, "probe_loss"))


def trainings():
    """Rows of the first table."""
    rows = []
    for (data, encoder, method, seed), name in _trainings().items():
        updates = _updates(name)
        theory = "-"
        if method == "barlow_twins":
            error = stored(f"{name}/comparison.json", "mean_scaled_relative_error")
            theory = f"{number(100 * error, 0)} %"
        cells = [*map(name_of, (data, encoder, method)), str(seed), str(len(updates))]
        cells += [", ".join(map(str, updates))]
        cells += [f"{_loss(name, 'first_record')}, {_loss(name, 'last_record')}", theory]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def overshoot():
    """Of the first mode."""
    highest = [
        read_arrays(RESULTS / f"methods/barlow_twins_{seed}/records.npz")["cross_spectrum"].max()
        for seed in range(3)
    ]
    return (
        f"with momentum and this learning rate the first mode overshoots 1 (the largest eigenvalue "
        f"reaches {_span(highest)} in the three ResNet-50s)"
    )


def barlow_twins_steps():
    """How many of the runs learn all dimensions."""
    counts = [len(_updates(name)) for key, name in _trainings().items() if key[2] == "barlow_twins"]
    vicreg = [len(_updates(name)) for key, name in _trainings().items() if key[2] == "vicreg"]
    return (
        f"Barlow Twins has six dimensions and learns all of them in {counts.count(6)} of "
        f"{len(counts)} runs and five in {counts.count(5)}",
        f"of which {min(vicreg)} to {max(vicreg)} are learned",
    )


def _untrained():
    results = []
    for folder in (RESULTS / "untrained").iterdir():
        result = stored(f"untrained/{folder.name}/ntk.json")
        taken = sum(time is not None for time in result["measured_step_times"])
        results.append({**result, **result["untrained"]["representation"], "taken": taken})
        results[-1]["name"] = folder.name
    return sorted(
        results,
        key=lambda one: (
            one["encoder"],
            one["norm"] == "none",
            one["data"],
            -one["residual_gain"],
            one["name"],
        ),
    )


def untrained():
    """Rows of the table of modes of untrained networks."""
    rows = []
    for one in _untrained():
        words = [name_of(one["encoder"]), name_of(one["data"]), f"gain {one['residual_gain']:g}"]
        words += ["no BatchNorm"] if one["norm"] == "none" else []
        cells = [f"{', '.join(words)} ({one['name']})"]
        cells += [number(share, 4) for share in one["shares"][:6]]
        cells += [str(one[key]) for key in ("in_time", "at_most", "taken")]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def expected_steps():
    """How often the number expected is right."""
    every = _untrained()
    right = [one["in_time"] == one["taken"] for one in every]
    off = max(abs(one["in_time"] - one["taken"]) for one in every)
    fewer = [place for place, one in enumerate(every) if one["taken"] < 6]
    assert off == 1
    return (
        f"The number expected is right for {sum(right)} of {len(every)} networks (*six for all of "
        f"them* would be right for {len(every) - len(fewer)}); the others differ by one. Only the "
        f"{len(fewer)} networks that took fewer than six steps tell the rules apart: "
        f"{sum(right[place] for place in fewer)} of these {len(fewer)} are predicted"
    )


@cache
def measured():
    """Measured kernels by data, network and method, a list over seeds."""
    names = [f"kernels/{folder.name}" for folder in sorted((RESULTS / "kernels").iterdir())]
    assert len(names) == _CIFAR_KERNELS
    names += [name for (data, *_), name in _trainings().items() if data == "imagenette2-96"]
    groups = {}
    for name in names:
        result = stored(f"{name}/ntk.json")
        groups.setdefault((result["data"], result["encoder"], result["method"]), []).append(result)
    order = (_DATA, _ENCODERS, _METHODS)
    return dict(
        sorted(
            groups.items(),
            key=lambda item: [a.index(b) for a, b in zip(order, item[0], strict=True)],
        )
    )


def _before(result):
    return result["untrained"]["kernel"]["subspace_alignment"]


def _gains(results):
    return [result["subspace_alignment"] - _before(result) for result in results]


def kernels():
    """Rows of the table of trained and untrained kernels."""
    rows = []
    for (data, encoder, method), results in measured().items():
        trained = np.mean([result["subspace_alignment"] for result in results])
        gain = f"{np.mean(_gains(results)) + 0.0:+.2f}"
        if len(results) > 1:
            gain += " " + interval(_mean(_gains(results)), 2).split(" ", 1)[1]
        cells = [*map(name_of, (data, encoder, method)), str(len(results))]
        cells += [number(trained, 2), number(np.mean([_before(each) for each in results]), 2)]
        cells += [_signed(gain)]
        for key in ("mean_relative_error", "mean_scaled_relative_error"):
            known = method == "barlow_twins"
            cells += [f"{100 * np.mean([r[key] for r in results]):.0f} %" if known else "-"]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def kernel_chance():
    """Alignment of random subspaces."""
    chances = [
        number(stored(f"kernels/resnet50_{method}_0/ntk.json", "chance"), 4)
        for method in ("barlow_twins", "vicreg")
    ]
    return f"chance: {chances[0]} for six dimensions, {chances[1]} for the 32 of VICReg"


def _of_method(method):
    return [result for key, results in measured().items() if key[2] == method for result in results]


def gains():
    """What training adds, over all seeds, networks and data."""
    means = [interval(_mean(_gains(_of_method(method))), 2) for method in _METHODS]
    counts = [len(_of_method(method)) for method in _METHODS]
    return _signed(
        f"Over all networks and data, training adds {means[0]} for Barlow Twins ({counts[0]} "
        f"runs), {means[1]} for SimCLR ({counts[1]}) and {means[2]} for VICReg ({counts[2]})"
    )


def _scaled_error(predicted, measured):
    """Mean error of step times up to one factor, as ``sslsim compare --run`` has it."""
    known = [pair for pair in zip(predicted, measured, strict=True) if None not in pair]
    predicted, measured = np.array(known, dtype=float).T
    scale = np.exp(np.mean(np.log(measured / predicted)))
    return float(np.mean(np.abs(scale * predicted / measured - 1)))


def _step_times():
    """Measured step times of Barlow Twins by data and network, a list over seeds."""
    groups = {}
    for (data, encoder, method, _), name in _trainings().items():
        if method == "barlow_twins":
            times = stored(f"{name}/comparison.json", "measured_step_times")
            groups.setdefault((data, encoder), []).append(times)
    return groups


def errors_up_to_one_factor():
    """Factor of the kernel; errors by the kernel, from pixels, by a power, by another seed; runs."""
    kernel = [each["mean_scaled_relative_error"] for each in _of_method("barlow_twins")]
    factor = [each["fitted_time_scale"] for each in _of_method("barlow_twins")]
    pixels = [
        stored(f"{name}/comparison.json", "mean_scaled_relative_error")
        for key, name in _trainings().items()
        if key[2] == "barlow_twins"
    ]
    groups = _step_times()
    power = [
        _scaled_error(np.arange(1, len(times) + 1) ** 1.5, times)
        for group in groups.values()
        for times in group
    ]
    other = [  # for each run, the mean of predictions by the other seeds
        np.mean([_scaled_error(source, times) for source in group if source is not times])
        for group in groups.values()
        for times in group
        if len(group) > 1
    ]
    said = [interval(_mean(errors), 0, 100, " %") for errors in (kernel, pixels, power, other)]
    return interval(_mean(factor), 2), said, (len(kernel), len(other))


def step_times():
    """Errors up to one factor, by the kernel, from pixels, and by what knows no theory."""
    factor, said, (runs, others) = errors_up_to_one_factor()
    return (
        f"too early by a factor of {factor}",
        f"Up to one factor their mean error over these {runs} runs is {said[0]}, and that "
        f"of linear theory from the pixels alone {said[1]} (first table)",
        f"the power 1.5 of the number of the mode, chosen on these runs, has {said[2]}, and the "
        f"times of another seed ({others} runs on CIFAR-10) have {said[3]}",
    )


def _span(values):
    low, high = number(min(values), 2), number(max(values), 2)
    return low if low == high else f"{low} to {high}"


def methods_alike():
    """Alignment of embeddings and of predictions, of seeds and of methods."""
    across = stored("kernels_across/ntk_across.json")
    matrix, pairs = np.array(across["alignment"]), ((0, 1), (0, 2), (1, 2))
    embedding, prediction = matrix[:4, :4], matrix[4:, 4:]
    same = [number(embedding[place, place], 2) for place in range(3)]
    return (
        f"(chance: {number(across['chance'], 2)} to {number(across['chance_alike'], 2)})",
        f"Embeddings of two seeds of one method: {same[0]} (Barlow Twins), {same[1]} (SimCLR), "
        f"{same[2]} (VICReg)",
        f"Embeddings of two methods: {_span([embedding[pair] for pair in pairs])}. Trained and "
        f"untrained networks: {_span(embedding[3, :3])}; two untrained networks: "
        f"{number(embedding[3, 3], 2)}",
        f"Predictions of the kernels of two methods: {_span([prediction[at] for at in pairs])}; "
        f"but those of untrained networks agree with each other to {number(prediction[3, 3], 2)}, "
        f"and with the trained ones to {_span(prediction[3, :3])}",
    )


PAGES = (
    Page(
        "experiments/docs/resnet50.md",
        held=(
            trainings,
            overshoot,
            barlow_twins_steps,
            untrained,
            expected_steps,
            kernels,
            kernel_chance,
            gains,
            step_times,
            methods_alike,
        ),
        said={
            "definition": (
                "(23.5 M parameters",
                "(0.033 / gamma_1)",
                "(temperature 0.5)",
                "with the 90 % interval over seeds",
            )
        },
    ),
)
