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


def with_interval(way, kind, place=-1):
    """Error at a width, the largest by default."""
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
        with_interval(way, kind)
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


def _trained(method, file):
    return [stored(f"convnets/{method}_{seed}/{file}.json") for seed in range(3)]


def steps_detected():
    """Rows of the table of what to expect."""
    said = {
        "barlow_twins": "--lr 0.001",
        "simclr": "--method simclr --similarity dot --lr 0.003 --steps 1500",
        "vicreg": "--method vicreg --lr 0.0005",
    }
    return [
        f"| `sslsim train {options} ...` | "
        f"{', '.join(str(run['detected_steps']) for run in _trained(method, 'training'))} |"
        for method, options in said.items()
    ]


def theory_of_pixels():
    """Errors up to one factor, beside those of times in proportion to the number of the mode."""
    found = []
    for method in ("barlow_twins", "simclr"):
        runs = _trained(method, "comparison")
        theory = _mean([run["mean_scaled_relative_error"] for run in runs])
        found += [theory, _mean([_error_of_numbers(run["measured_step_times"]) for run in runs])]
    bt, bt_naive, simclr, simclr_naive = (f"{100 * error:.0f} %" for error in found)
    return (
        f"linear theory of the pixels predicts the ratios of the step times with a mean error of {bt} "
        f"for Barlow Twins and {simclr} for SimCLR (three seeds). Times in proportion to the number "
        f"of the step, without any theory, err by {bt_naive} and {simclr_naive}"
    )


def _error_of_numbers(times):
    """Mean relative error of j, up to the factor that fits the logarithms best."""
    known = [(place, time) for place, time in enumerate(times, 1) if time is not None]
    factor = exp(_mean([log(time / place) for place, time in known]))
    return _mean([abs(factor * place / time - 1) for place, time in known])


def _mean(values):
    return sum(values) / len(values)


def one_convnet():
    """What the caption of the staircase says."""
    found = stored("convnets/barlow_twins_0/comparison.json")
    return (
        "the ratios of its step times are off by "
        f"{100 * found['mean_scaled_relative_error']:.0f} % on average"
    )


def one_network():
    """The network that `sslsim train` makes."""
    found = stored("kernels_small/default/ntk.json")
    untrained = found["untrained"]["kernel"]["subspace_alignment"]
    return (
        f"with a subspace alignment of {found['subspace_alignment']:.2f} (chance: "
        f"{found['chance']:.2f}; the kernel of the untrained network: {untrained:.2f}). The kernel at "
        f"the start predicts the {_word(len(found['measured_step_times']))} step times with an error "
        f"of {100 * found['mean_relative_error']:.0f} %, or of "
        f"{100 * found['mean_scaled_relative_error']:.0f} % after multiplication by one factor"
    )


def _word(count):
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    return words[count - 1]


def kernel_over_training():
    """How the kernel changes, and what it predicts meanwhile."""
    points = stored("kernels_small/over_training/ntk.json", "over_training")
    final = [point["with_final_embedding"]["subspace_alignment"] for point in points]
    first, last = (
        f"{point['kernel_alignment']:.2f} (centred {point['kernel_cka']:.2f})"
        for point in (points[1], points[-1])
    )
    return (
        f"the alignment of the kernel with the initial kernel falls from {first} at the first "
        f"checkpoint to {last} at the end. The agreement of the kernel's prediction with the "
        f"embedding at the end rises from {final[0]:.2f} to {final[-1]:.2f}"
    )


def errors_of_three_ways():
    """Step times from the initial, the refreshed and the restarted kernel."""
    found = stored("kernels_small/over_training/ntk.json")
    errors = [
        found["mean_relative_error"],
        found["refreshed_agreement"]["mean_relative_error"],
        found["restarted_agreement"]["mean_relative_error"],
    ]
    return [f"off by {100 * error:.0f} %" for error in errors]


def _across(name):
    found = stored(f"kernels_small/{name}/ntk_across.json")
    methods = found["methods"]
    half = len(methods)
    place = {method: at for at, method in enumerate(methods)}
    table = found["alignment"]

    def value(one, other, kinds="ee"):
        row, column = (
            place[m] + half * (k == "p") for m, k in zip((one, other), kinds, strict=True)
        )
        return table[row][column]

    return found, [method for method in methods if method != "untrained"], value


def _range(values):
    low, high = (f"{value:.2f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def across_methods():
    """Embeddings and predictions of convnets."""
    found, trained, value = _across("across")
    pairs = [(a, b) for a in trained for b in trained if a < b]
    names = {"barlow_twins": "Barlow Twins", "simclr": "SimCLR", "vicreg": "VICReg"}
    seeds = ", ".join(f"{value(m, m):.2f} ({names.get(m, m)})" for m in trained)
    own = ", ".join(f"{value(m, m, 'ep'):.2f}" for m in trained)
    chance = f"{found['chance']:.2f} to {found['chance_alike']:.2f}"
    return [
        f"a chance level of {chance}",
        f"Embeddings of one method with different seeds: {seeds}. Embeddings of two methods: "
        f"{_range([value(a, b) for a, b in pairs])}. Trained and untrained networks: "
        f"{_range([value(m, 'untrained') for m in trained])}.",
        f"Embedding of a network and prediction of its own kernel after training: {own}.",
        "Predictions of the kernels of two methods: "
        f"{_range([value(a, b, 'pp') for a, b in pairs])}. Kernels agree more than embeddings, but "
        "the predictions of untrained networks already agree with them to "
        f"{_range([value(m, 'untrained', 'pp') for m in trained])}.",
    ]


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
TRAIN = Page(
    "experiments/docs/train.md",
    held=(steps_detected, theory_of_pixels, one_convnet),
    said={
        "definition": [
            "lambda = 0.005 in the form",
            "temperature 0.5 (CIFAR-10)",
            "weights 25, 25, 1; eps 0.0001",
            "teacher's momentum 0.996, rising to 1",
            "temperature 0.2 (vision transformers), factor 2 T, momentum 0.99, rising to 1",
            "temperature 0.1, three iterations | 128 prototypes, smoothness 0.03, no queue",
            "temperatures 0.1 and 0.04, momentum 0.996",
            "75 % of the patches are hidden",
            "alpha 0.75, 20 matches",
            "lambda = 0.05, 256 directions, 17 points from -5 to 5",
            "eps is machine precision (1.2e-7 in float32, 2.2e-16 in float64)",
            "below the eps of 0.0001 under the root",
            "changed by more than 30 % makes the next one due",
            "the ends of its 90 % interval",
            "below 0.001 of its ceiling",
            "centred embeddings, eps = 0.1, in nats",
        ],
        "sslsim train --method lejepa --encoder linear --limit 300": [
            "grows as exp(94 t) between t = 0.045 and 0.06, predicted exp(100 t)",
            "the first one rises to 4.9",
            "with a mean error of 23 %",
        ],
        "sslsim train --method simsiam --init-scale 1 --dim 32 --steps 300": [
            "linear projector | 88.9 ± 1.7 % | 10.0 |",
            "| `simsiam` | 94.2 ± 1.3 % | 7.0 |",
            "| 69.2 ± 2.4 % | 1.1 |",
            "| `moco_v3` | 92.5 ± 1.4 % | 9.4 |",
            "| `lejepa` | 93.6 ± 1.3 % | 18.0 |",
            "(effective rank 1.01 after 240 updates)",
        ],
    },
)
NTK = Page(
    "experiments/docs/ntk.md",
    held=(
        one_network,
        kernel_over_training,
        errors_of_three_ways,
        across_methods,
    ),
)
PAGES = (WIDE, TRAIN, NTK)
