"""The first page."""

from claims import forecasts
from claims.networks import with_interval
from claims.page import Page
from claims.stored import interval, number, stored
from sslsim.measures.intervals import mean_interval


def _sooner(name):
    arms = stored(f"acceleration/{name}/acceleration.json", "arms")
    (arm,) = [arm for arm in arms if arm["arm"] == "muon+embedding"]
    return arm["passages"]["mode 8"]["sooner"]


def _umm(measure, against="from_control"):
    row = {"group": "simclr", "setting": "full"}
    return stored("umm/untouched/table.json", "rows", row, "measures", measure, against)


def _fall(measure):
    late = {"layer": "projector", "group": "simclr"}
    found = stored("umm/untouched/table.json", "falls", late, f"{measure}_fall")
    return number(100 * found["mean"])


def _removed(data, share):
    result = stored("memorization/removal/removal.json", "results", {"data": data})
    (curve,) = [curve for curve in result["curves"] if curve["which"] == "most"]
    (point,) = [point for point in curve["points"] if abs(point["share"] - share) < 0.01]
    return point["from_random"]


def acceleration():
    """Modes sooner than by sgd."""
    times = [interval(_sooner(name), unit=" times sooner") for name in ("convnet", "resnet18")]
    second = times[1].replace(" sooner", "")
    return f"{times[0]} than sgd on a convnet and {second} on a ResNet-18 with BatchNorm"


def fine_tuning():
    """What UMM regains."""
    probe, neighbours = (
        interval(_umm(name), scale=100) for name in ("linear_projector", "knn_projector")
    )
    mean, ends = probe.split(" ", 1)
    return (
        f"{mean} points {ends} of {_fall('linear')} lost, its nearest neighbours {neighbours} of "
        f"{_fall('knn')}"
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
    naive = [run["naive_mean_relative_error"] for run in runs.values()]
    return (
        f"off by {100 * _mean(errors.values()):.2f} % on average over three data sets, three initial "
        f"scales and two seeds, at most by {100 * errors[worst]:.1f} % in a run "
        f"({DATA[worst[0]]}, scale {worst[1]}); by {100 * _mean(naive):.1f} % if modes are taken to grow "
        "alone"
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


def steps_of_resnets():
    """Steps of ResNet-50s, by method and seed."""
    counts = {
        method: ", ".join(
            str(stored(f"methods/{method}_{seed}/training.json")["detected_steps"])
            for seed in range(3)
        )
        for method in ("barlow_twins", "simclr", "vicreg")
    }
    return (
        f"{counts['barlow_twins']} steps with Barlow Twins, {counts['simclr']} with SimCLR and "
        f"{counts['vicreg']} with VICReg (three seeds each)"
    )


def next_steps():
    """Errors of forecasts of untouched runs, beside the last rate."""
    rest = forecasts._at_rest(forecasts._untouched())
    runs = len(forecasts._by_run(rest))
    median = number(100 * forecasts._error(rest), 0)
    ends = forecasts._over_runs(rest, forecasts._errors, forecasts.np.median)
    last = number(100 * forecasts._error(rest, "last_rate"), 0)
    return (
        f"over {len(rest)} plateaus of {runs} trainings that played no part in the rules, the median "
        f"error of the time left is {median} % {ends}; that of the last rate, kept up, is {last} %"
    )


def _by_training(network, method):
    differences = []
    for seed in range(3):
        found = stored(f"kernels/{network}_{method}_{seed}/ntk.json")
        untrained = found["untrained"]["kernel"]["subspace_alignment"]
        differences.append(found["subspace_alignment"] - untrained)
    return interval(mean_interval(differences, 0.9)._asdict(), digits=2)


def kernels():
    """What training adds to the prediction of a ResNet-50's kernel."""
    added = [_by_training("resnet50", method) for method in ("barlow_twins", "simclr", "vicreg")]
    found = [
        stored(f"kernels/resnet50_{method}_{seed}/ntk.json")["subspace_alignment"]
        for method in ("barlow_twins", "simclr", "vicreg")
        for seed in range(3)
    ]
    return (
        f"alignment {min(found):.2f} to {max(found):.2f}, but the kernel before training predicts it "
        f"as well for Barlow Twins and SimCLR: training adds {added[0]} and {added[1]}, and {added[2]} "
        "for VICReg"
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
        f"score higher by {cells[0]} in the embedding of a ResNet-18 of width 16 and by {cells[1]} in "
        f"its representation; in a small convnet by {cells[2]} and "
        f"{cells[3]}"
    )


README = Page(
    "README.md",
    held=(
        step_times,
        wide,
        steps_of_resnets,
        next_steps,
        kernels,
        acceleration,
        fine_tuning,
        not_overfit,
        memorised,
        removal,
    ),
    said={"definition": ["You need Python 3.11 or later.", "Brackets are 90 % intervals"]},
)
INDEX = Page(
    "experiments/docs/index.md",
    said={"definition": ["You need Python 3.11 or later;"]},
)
PAGES = (README, INDEX)
