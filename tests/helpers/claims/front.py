"""The first page."""

import numpy as np

from claims import forecasts
from claims import kernels as kernel_claims
from claims.networks import with_interval
from claims.page import Page
from claims.stored import interval, number, stored


def _sooner(name):
    arms = stored(f"acceleration/{name}/acceleration.json", "arms")
    (arm,) = [arm for arm in arms if arm["arm"] == "muon+embedding"]
    return arm["passages"]["mode 8"]["sooner"]


def _umm(measure, against="from_control"):
    row = {"group": "simclr", "setting": "full"}
    return stored("umm/untouched/table.json", "rows", row, "measures", measure, against)


def _fall(measure, layer="projector"):
    """Fall from the peak of the other seeds, which is not one by chance."""
    (group,) = stored("umm/overfitting_untouched/overfitting.json", "groups")
    falls = group[f"{measure}_fall_by_others"]
    place = group["layers"].index(layer)
    return {end: falls[end][place] for end in ("mean", "low", "high")}


def _removed(data, share):
    result = stored("memorization/removal/removal.json", "results", {"data": data})
    (curve,) = [curve for curve in result["curves"] if curve["which"] == "most"]
    (point,) = [point for point in curve["points"] if abs(point["share"] - share) < 0.01]
    return point["from_random"]


def acceleration():
    """Modes sooner than by sgd."""
    first, second, third = (
        interval(_sooner(name)) for name in ("convnet", "resnet18", "resnet18_longer")
    )
    return (
        f"{first} times sooner than sgd on a convnet; on a ResNet-18 with BatchNorm {second} times and, "
        f"in a longer study, {third} times"
    )


def fine_tuning():
    """What UMM regains beyond plain training, beside what was lost."""
    probe, neighbours, representation = (
        interval(_umm(name), scale=100)
        for name in ("linear_projector", "knn_projector", "linear_backbone")
    )
    mean, ends = probe.split(" ", 1)
    lost = [
        interval(_fall(*found), scale=100)
        for found in (("linear",), ("knn",), ("linear", "backbone"))
    ]
    return (
        f"{mean} points {ends} of {lost[0]} lost, nearest neighbours {neighbours} of {lost[1]}, and "
        f"the probe of the representation {representation} of {lost[2]}"
    )


def removal():
    """Accuracy without the most memorised images, less that without random ones."""
    cells = [
        interval(_removed(data, share), scale=100)
        for share in (1 / 3, 0.05)
        for data in ("cifar10", "imagenette2-96")
    ]
    return (
        f"{cells[0]} points on CIFAR-10 and {cells[1]} on Imagenette at a third of the pool, "
        f"{cells[2]} and {cells[3]} at 5 %"
    )


def power_of_removal():
    """How much removing random images changes accuracy."""
    result = stored("memorization/removal/removal.json", "results", {"data": "cifar10"})
    (curve,) = [curve for curve in result["curves"] if curve["which"] == "random"]
    (point,) = [point for point in curve["points"] if abs(point["share"] - 1 / 3) < 0.01]
    changed = interval(point["from_none"], scale=100)
    return f"a random third of the images changes the accuracy on CIFAR-10 by {changed} as it is"


DATA = {"digits": "digits", "cifar10": "CIFAR-10", "imagenette": "Imagenette"}
SCALES = ("1e-2", "1e-3", "1e-6")


def _linear():
    return {
        (data, scale, seed): stored(f"linear/{data}_{scale}_{seed}/comparison.json")
        for data in DATA
        for scale in SCALES
        for seed in (0, 1)
    }


def step_times():
    """Errors of step times of linear models, over all runs."""
    runs = _linear()
    errors = {key: run["mean_relative_error"] for key, run in runs.items()}
    worst = max(errors, key=errors.get)
    single = max(max(run["relative_error"]) for run in runs.values())
    naive = [run["naive_mean_relative_error"] for run in runs.values()]
    return (
        f"off by {100 * _mean(errors.values()):.2f} % on average over three data sets, three initial "
        f"scales and two seeds, at most by {100 * errors[worst]:.1f} % in a run ({DATA[worst[0]]}, "
        f"scale {worst[1]}; a single step {100 * single:.1f} %); by {100 * _mean(naive):.1f} % if modes "
        "are taken to grow alone"
    )


def _mean(values):
    values = list(values)
    return sum(values) / len(values)


def wide():
    """Wide networks, both ways to small outputs."""
    last, trace, blocks = (
        with_interval(way, kind)
        for way, kind in (("last", "kernel"), ("centred", "kernel"), ("centred", "full_kernel"))
    )
    return (
        f"step times at width 4096 are off by {last} if the last layer starts small; if initial outputs "
        f"are subtracted instead, by {blocks} with all blocks of the kernel, but by {trace} with its trace"
    )


def not_overfit():
    """What UMM changes where nothing is overfit."""
    row = {"group": "simclr, fixed_views False", "setting": "full"}
    found = stored("umm_sweep/table.json", "rows", row, "measures", "linear_projector")
    return (
        f"an embedding that is not overfit changes by {interval(found['from_control'], scale=100)}"
    )


def _steps(name):
    return str(stored(f"{name}/training.json")["detected_steps"])


def steps_of_resnets():
    """Steps of ResNet-50s, by method and seed."""
    methods = ("barlow_twins", "simclr", "vicreg")
    counts = [
        ", ".join(_steps(f"methods/{method}_{seed}") for seed in range(3)) for method in methods
    ]
    other = ", ".join(_steps(f"resnets/imagenette_{method}_0") for method in methods)
    return (
        f"of 6 dimensions {counts[0]} with Barlow Twins and {counts[1]} with SimCLR, of 32 {counts[2]} "
        f"with VICReg (CIFAR-10, three seeds; Imagenette, one seed of each: {other})"
    )


def step_times_of_resnets():
    """Errors of the untrained kernel, beside theory of the pixels and rules without theory."""
    factor, said, (runs, _) = kernel_claims.errors_up_to_one_factor()
    return (
        f"the kernel of the untrained network is too early by a factor of {factor}; up to one factor "
        f"it errs by {said[0]}, linear theory of the pixels by {said[1]}, a power of the number of the "
        f"step, chosen afterwards, by {said[2]}, and the times of another seed by {said[3]} (Barlow "
        f"Twins, {runs} runs)"
    )


def next_steps():
    """Errors of forecasts of untouched runs, beside curves alone and the last rate."""
    came = forecasts.untouched()
    rest = forecasts.at_rest(came)
    runs = len(forecasts.by_run(rest))
    median = number(100 * forecasts.median_error(rest), 0)
    ends = forecasts.over_runs(rest, forecasts.relative_errors, np.median)
    curves, last = (
        number(100 * forecasts.median_error(rest, rule), 0) for rule in ("curves", "last_rate")
    )
    return (
        f"for {len(rest)} of {len(came)} plateaus of {runs} small networks that played no part in the "
        f"rules, the median error of the time left is {median} % {ends} (over runs); from the recorded "
        f"curves alone it is {curves} %, from the last rate kept up {last} %"
    )


def kernels():
    """What a ResNet's kernel predicts after training, and what training adds."""
    every = [
        result
        for key, results in kernel_claims.measured().items()
        for result in results
        if key[1] == "resnet50"
    ]
    shares = [result["subspace_alignment"] for result in every]
    chance = sorted({f"{result['chance']:.2f}" for result in every})
    return (
        f"alignment {min(shares):.2f} to {max(shares):.2f} ({len(every)} runs; chance "
        f"{' and '.join(chance)}), much of which the kernel before training predicts too. "
        f"{kernel_claims.gains()}"
    )


def candidates(study, layer, digits):
    """Scores of candidates above those of shared images."""
    found = stored(f"memorization/{study}/memorization.json")
    place = found["layers"].index(layer)
    first = found["forms"]["raw"]["sets"][place]["comparisons"]
    (shared,) = [c for c in first if (c["above"], c["below"]) == ("candidate", "shared")]
    return interval({"mean": shared["difference"], **shared}, digits=digits)


def memorised():
    """Candidates above shared images, by network and layer."""
    cells = [
        candidates(study, layer, digits)
        for study, layer, digits in (
            ("resnet18", "projector", 2),
            ("resnet18", "backbone", 2),
            ("convnet", "projector", 2),
            ("convnet", "backbone", 3),
        )
    ]
    return (
        f"score above images that both were trained on by {cells[0]} in the embedding of a ResNet-18 of width 16 and by {cells[1]} in "
        f"its representation; in a small convnet by {cells[2]} and "
        f"{cells[3]}"
    )


README = Page(
    "README.md",
    held=(
        step_times,
        wide,
        steps_of_resnets,
        step_times_of_resnets,
        next_steps,
        kernels,
        acceleration,
        fine_tuning,
        not_overfit,
        memorised,
        removal,
        power_of_removal,
    ),
    said={
        "definition": [
            "You need Python 3.11 or later.",
            "Brackets are 90 % intervals, over seeds where nothing else is said.",
        ]
    },
)
INDEX = Page(
    "experiments/docs/index.md",
    said={"definition": ["You need Python 3.11 or later;"]},
)
PAGES = (README, INDEX)
