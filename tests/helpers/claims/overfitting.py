"""Overfitting and UMM."""

from functools import cache

import numpy as np

from claims.page import Page
from claims.stored import interval, number, stored
from experiments.campaign.queue import read_queue
from sslsim.measures.intervals import interval_summary
from sslsim.runs.layers.curves import falls_by_other_peaks

PROBE, NEIGHBOURS = "linear_projector", "knn_projector"  # of the embedding
RATE = "coding_rate_reduction"  # in nats; the others are shares
FIXED, FRESH = "simclr, fixed_views True", "simclr, fixed_views False"


def _change(found, digits=1, scale=100):
    """Interval with the sign of a change."""
    text = interval(found, digits, scale)
    return text if text.startswith("-") else f"+{text}"


def _row(name, setting="full", group="simclr"):
    """Measures of a setting of a sweep."""
    row = {"group": group, "setting": setting}
    return stored(f"{name}/table.json", "rows", row, "measures")


def _beyond(measures, measure, against="from_control"):
    return _change(measures[measure][against], scale=1 if measure == RATE else 100)


def _gain(measures, measure):
    """As a gain: no sign."""
    return interval(measures[measure]["from_control"], scale=1 if measure == RATE else 100)


def _after(measures, measure):
    return measures[measure]["before"] + measures[measure]["change"]["mean"]


def _fallen(name, measure, layer="projector", group=0, scale=100):
    """Fall from the peak of the other seeds."""
    found = stored(f"{name}/overfitting.json", "groups", group)
    place = found["layers"].index(layer)
    fall = found[f"{measure}_fall_by_others"]
    return {end: scale * fall[end][place] for end in ("mean", "low", "high")}


def _fall(*where, **which):
    return interval(_fallen(*where, **which))


def _cut(found):
    """A correlation, its interval cut at one."""
    mean, low, high = (number(min(max(found[end], -1), 1), 2) for end in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def minutes_of_the_queue():
    """Minutes of all jobs."""
    minutes = sum(job.minutes for job in read_queue("umm").jobs)
    return f"The queue `umm` of [campaign](campaign.md) runs it in about {minutes:.0f} minutes"


def repair():
    """Rows of overfit runs and of others."""
    rows = []
    words = ("fixed views (overfit)", "fresh views (not overfit)")
    for place, (name, group) in enumerate(zip(words, (FIXED, FRESH), strict=True)):
        full, plain, control = (
            _row("umm_sweep", setting, group) for setting in ("full", "no_alignment", "control")
        )
        cells = [
            name,
            number(100 * full[PROBE]["before"]),
            _fall("umm/overfitting", "linear", group=place),
            _beyond(control, PROBE, "change"),
            _beyond(full, PROBE),
            _beyond(plain, PROBE),
            _beyond(full, NEIGHBOURS),
            _beyond(full, RATE),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def repaired():
    """The probe had fallen and rises; where it had not fallen it does not."""
    fixed, fresh = (_row("umm_sweep", "full", group) for group in (FIXED, FRESH))
    return (
        f"The probe of the overfit embedding had lost {_fall('umm/overfitting', 'linear')} points "
        f"since the peak of the other seeds; UMM gains {_gain(fixed, PROBE)} beyond the control. "
        f"Where nothing had been lost it gains {_gain(fresh, PROBE)}, although Delta R rises by "
        f"{_gain(fresh, RATE)} nats there and by {_gain(fixed, RATE)} here"
    )


def advised():
    """What ``overfitting`` says beforehand."""
    groups = stored("umm/overfitting/overfitting.json", "groups")
    fixed, fresh = (group["advice"] for group in groups)
    if fixed["overfit"] != ["projector"] or fresh["overfit"]:
        raise ValueError(f"overfit are {fixed['overfit']}, {fresh['overfit']}; expected embedding")
    return (
        "`overfitting` says beforehand that the embedding is overfit with fixed views, and no layer "
        "with fresh ones"
    )


def neighbours():
    """They had fallen and stay."""
    change = _beyond(_row("umm_sweep", "full", FIXED), NEIGHBOURS)
    return f"They had lost {_fall('umm/overfitting', 'knn')} points and change by {change}"


def alignment():
    """Its gradient and what it adds."""
    row = {"group": FIXED, "setting": "full"}
    share = stored("umm_sweep/table.json", "rows", row, "alignment_share")
    added = _beyond(_row("umm_sweep", "full", FIXED), PROBE, "from_no_alignment")
    return (
        f"Its gradient is {interval(share, 2)} of that of the loss, but with one inner step of "
        f"rate 0.01 full minus no_alignment is {added} points in the probe"
    )


def representation():
    """The layer before, and after, the repair of the embedding."""
    full = _row("umm_sweep", "full", FIXED)
    late, embedding = (
        number(100 * _after(full, measure)) for measure in ("linear_backbone", PROBE)
    )
    return (
        f"The representation had lost {_fall('umm/overfitting', 'linear', 'backbone')} points and "
        f"changes by {_beyond(full, 'linear_backbone')}. Its probe, {late} %, stays above that of "
        f"the repaired embedding, {embedding} %"
    )


def rates_over_training():
    """Rank correlations of Delta R with the probe of the same layer."""

    def correlation(group, span="all", layer="projector", signal="instance"):
        found = stored("umm/overfitting/overfitting.json", "groups", group)
        place, eps = found["layers"].index(layer), 1
        ends = found["correlations"]["linear"][signal][span]
        return _cut({end: ends[end][eps][place] for end in ("mean", "low", "high")})

    return (
        "With fresh views the Delta R of the embedding falls while accuracy rises (rank "
        f"correlation {correlation(1)}; representation {correlation(1, layer='backbone')}). With "
        f"fixed views it is {correlation(0)}, and {correlation(0, 'after_peak')} after the peak, "
        f"where that of the number of updates is {correlation(0, 'after_peak', signal='updates')}"
    )


def grid():
    """Rows of the first search: inner rate and beta."""
    default = _row("umm_sweep", "full", FIXED)
    plain = _row("umm_sweep", "no_alignment", FIXED)
    rows = [("0.01, 1 (default, five seeds)", default, plain)]
    for rate, beta in ((0.1, 1), (0.1, 100), (1, 1), (1, 100)):
        found = _row("umm/grid", f"inner_lr={float(rate)} beta={float(beta)}")
        rows.append(
            (f"{rate}, {beta}", found, _row("umm/grid", f"no_alignment, inner_lr={float(rate)}"))
        )
    return [
        f"| {name} | {_beyond(found, PROBE)} | {_beyond(without, PROBE)} | "
        f"{_beyond(found, PROBE, 'from_no_alignment')} | "
        f"{_beyond(found, RATE, 'from_no_alignment')} |"
        for name, found, without in rows
    ]


_SEARCHED = {
    "full": "full (beta 1, w 1, eps 0.32, one inner step)",
    "no_alignment": "no_alignment",
    "beta=0.3": "beta 0.3",
    "beta=3.0": "beta 3",
    "beta=10.0": "beta 10",
    "inner_steps=5": "five inner steps",
    "coding_rate_weight=0.3": "w 0.3",
    "coding_rate_weight=3.0": "w 3",
    "eps=0.1": "eps 0.1",
    "eps=1.0": "eps 1",
    "distance=cka": "D by CKA",
    "early=layer1": "early features of layer 1",
}


def search():
    """Rows of the second search."""
    found = {words: _row("umm/search", setting) for setting, words in _SEARCHED.items()}
    return [
        f"| {words} | {_beyond(row, PROBE)} | {_beyond(row, NEIGHBOURS)} | {_beyond(row, RATE)} |"
        for words, row in found.items()
    ]


def searched():
    """How many settings gain."""
    rows = [_row("umm/search", setting) for setting in _SEARCHED]
    probes = [row[PROBE]["from_control"] for row in rows]
    near = [row[NEIGHBOURS]["from_control"] for row in rows]
    least, most = (number(100 * end([each["mean"] for each in probes])) for end in (min, max))
    above = [sum(each["low"] > 0 for each in measured) for measured in (probes, near)]
    below = sum(each["high"] < 0 for each in near)
    return (
        f"The linear probe gains {least} to {most} points, with an interval above zero in "
        f"{above[0]} of {len(rows)} settings. That of nearest neighbours is above zero in "
        f"{above[1]} and below in {below}"
    )


def never_above_the_representation():
    """The best embedding of the search, and its representation."""
    rows = [_row("umm/search", setting) for setting in _SEARCHED]
    best = max(rows, key=lambda row: _after(row, PROBE))
    if any(_after(row, PROBE) >= _after(row, "linear_backbone") for row in rows):
        raise ValueError("a setting lifts the embedding above the representation")
    embedding, late = (
        number(100 * _after(best, measure)) for measure in (PROBE, "linear_backbone")
    )
    return (
        "a setting that lifts the embedding above the representation (the best of the search is at "
        f"{embedding} %, its representation at {late} %)"
    )


def untouched():
    """Rows of the seeds that chose nothing."""
    full, plain, control = (
        _row("umm/untouched", setting) for setting in ("full", "no_alignment", "control")
    )
    peak, near = (_fall("umm/overfitting_untouched", measure) for measure in ("linear", "knn"))
    rows = {
        f"linear probe (fallen by {peak})": PROBE,
        f"nearest neighbours (fallen by {near})": NEIGHBOURS,
        "linear probe, Imagenette": f"transfer_{PROBE}",
        "nearest neighbours, Imagenette": f"transfer_{NEIGHBOURS}",
        "Delta R (nats)": RATE,
    }
    return [
        f"| {words} | {_beyond(control, measure, 'change')} | {_beyond(full, measure)} | "
        f"{_beyond(plain, measure)} | {_beyond(full, measure, 'from_no_alignment')} |"
        for words, measure in rows.items()
    ]


def transferred():
    """Beyond the control and from before."""
    full, control = (_row("umm/untouched", setting) for setting in ("full", "control"))
    measure = f"transfer_{PROBE}"
    return (
        f"On Imagenette the probe gains {_gain(full, measure)} points beyond the control, which "
        f"itself loses ({_beyond(control, measure, 'change')}); from before fine-tuning it changes "
        f"by {_beyond(full, measure, 'change')}"
    )


def one_of_four():
    """What the alignment adds to accuracies of the embedding."""
    full = _row("umm/untouched")
    measures = (PROBE, NEIGHBOURS, f"transfer_{PROBE}", f"transfer_{NEIGHBOURS}")
    added = [full[measure]["from_no_alignment"] for measure in measures]
    above = sum(each["low"] > 0 for each in added)
    earlier = _beyond(_row("umm/search"), NEIGHBOURS, "from_no_alignment")
    return (
        f"The alignment adds something to {above} of {len(added)} accuracies, nearest neighbours "
        f"on CIFAR-10: {_change(added[1])} points. On the seeds of the search (w 1) it was "
        f"{earlier}"
    )


def untouched_representation():
    """Its probe does not change."""
    change = _beyond(_row("umm/untouched"), "linear_backbone")
    return f"The probe of the representation changes by {change}"


def barlow_twins():
    """Falls and gains."""
    name, group = "umm/overfitting_barlow_twins", "barlow_twins"
    full, control = (_row("umm/barlow_twins", setting, group) for setting in ("full", "control"))
    return (
        f"the probe of the embedding had fallen by {_fall(name, 'linear')} points and gains "
        f"{_gain(full, PROBE)} beyond the control, which itself loses "
        f"({_beyond(control, PROBE, 'change')}); neighbours had fallen by {_fall(name, 'knn')} and "
        f"change by {_beyond(full, NEIGHBOURS)}; the representation changes by "
        f"{_beyond(full, 'linear_backbone')}. Delta R rises by {_gain(full, RATE)} nats"
    )


_ALL = ("full", "no_alignment", "no_coding_rate", "joint", "align", "spread", "spread_held")
_METHODS = ("simclr", "barlow_twins")
_LATE = ("linear_backbone", "knn_backbone")


def little():
    """Rows of settings where little is to undo, of the representation."""
    return [
        f"| {setting} | "
        + " | ".join(
            _beyond(_row("umm/little", setting, method), measure)
            for measure in (*_LATE, RATE)
            for method in _METHODS
        )
        + " |"
        for setting in _ALL
    ]


def little_gains():
    """How many accuracies of the representation change."""
    found = [
        _row("umm/little", setting, method)[measure]["from_control"]
        for setting in _ALL
        for method in _METHODS
        for measure in _LATE
    ]
    above, below = sum(each["low"] > 0 for each in found), sum(each["high"] < 0 for each in found)
    return f"Of these {len(found)} accuracies {above} has an interval above zero and {below} below"


def little_embedding():
    """Accuracies of the embedding, though its features are not the late ones here."""
    simclr, barlow = (_row("umm/little", "full", method) for method in _METHODS)
    return (
        f"the probe of the embedding changes by {_beyond(simclr, PROBE)} points (SimCLR) and "
        f"{_beyond(barlow, PROBE)} (Barlow Twins), its nearest neighbours by "
        f"{_beyond(simclr, NEIGHBOURS)} and {_beyond(barlow, NEIGHBOURS)}"
    )


def little_rates():
    """Delta R before."""
    before = [number(_row("umm/little", "full", method)[RATE]["before"]) for method in _METHODS]
    return f"Delta R was {before[0]} and {before[1]} nats before"


def little_alignment():
    """What one inner step does, and alignment alone."""
    added, before, lowered = [], [], []
    for method in _METHODS:
        full, align = (_row("umm/little", setting, method) for setting in ("full", "align"))
        added.append(_beyond(full, _LATE[0], "from_no_alignment"))
        before.append(number(align["alignment"]["before"], 3))
        lowered.append(_change(align["alignment"]["from_control"], 3, 1))
    return (
        f"full minus no_alignment is {added[0]} points in the probe (SimCLR) and {added[1]} "
        f"(Barlow Twins). Alignment alone (align) changes the distance D, {before[0]} and "
        f"{before[1]} before, by {lowered[0]} and {lowered[1]}"
    )


def little_layers():
    """The late layer was the best already."""
    rows = [_row("umm/little", "full", method) for method in _METHODS]
    early, late = (
        [number(100 * row[measure]["before"]) for row in rows]
        for measure in ("linear_layer2", "linear_backbone")
    )
    return (
        f"linear probe of layer 2 and of the representation: {early[0]} and {late[0]} % for "
        f"SimCLR, {early[1]} and {late[1]} % for Barlow Twins"
    )


def little_settings():
    """Changes of the probe of the representation, and the control's own."""
    found = {
        name: _beyond(_row("umm/little_settings", setting), _LATE[0])
        for name, setting in (
            ("eps 0.32", "full"), ("0.1", "eps=0.1"), ("1", "eps=1.0"),
            ("three times the learning rate", "outer_lr=0.0003"),
        )
    }  # fmt: skip
    changes = ", ".join(f"{change} ({name})" for name, change in found.items())
    return f"changes of the probe beyond the control were {changes}"


def undone():
    """Networks that had memorised the pairs of few images."""
    full = _row("umm/undone")
    early, late = (
        number(100 * full[f"linear_{layer}"]["before"]) for layer in ("layer2", "backbone")
    )
    return (
        f"the probe of the representation is at {late} %, that of layer 2 at {early} % (three "
        "seeds). Beyond the control, the full mechanism on these same pairs changes the probe of "
        f"the representation by {_beyond(full, _LATE[0])} points, its nearest neighbours by "
        f"{_beyond(full, _LATE[1])}, and Delta R by {_beyond(full, RATE)} nats"
    )


_NAMED = (  # options of the groups, in the order of the table
    ("SimCLR, CIFAR-10, 500 fixed", "simclr", "cifar10", 500, True, "constant"),
    ("SimCLR, CIFAR-10, 2000 fixed", "simclr", "cifar10", 2000, True, "constant"),
    ("SimCLR, CIFAR-10, 100 fixed", "simclr", "cifar10", 100, True, "constant"),
    ("Barlow Twins, CIFAR-10, 500 fixed", "barlow_twins", "cifar10", 500, True, "constant"),
    ("SimCLR, CIFAR-10, 500 fresh", "simclr", "cifar10", 500, False, "constant"),
    ("SimCLR, digits, 100 fresh", "simclr", "digits", 100, False, "constant"),
    ("SimCLR, digits, 100 fixed", "simclr", "digits", 100, True, "constant"),
    ("SimCLR, digits, 100 fixed, step", "simclr", "digits", 100, True, "step"),
    ("SimCLR, digits, 100 fixed, cosine", "simclr", "digits", 100, True, "cosine"),
    ("SimCLR, digits, 100 fixed, exponential", "simclr", "digits", 100, True, "exponential"),
)
_KEYS = ("method", "data", "limit", "fixed_views", "schedule")
_LAYERS = {"backbone": "representation", "projector": "embedding"}
_SMALL, _LARGE = 0.03, 1.0  # eps


@cache
def _study():
    return stored("overfitting/overfitting.json")


@cache
def _groups():
    """Groups of the study by name."""
    options = {tuple(group["options"][key] for key in _KEYS): group for group in _study()["groups"]}
    return {name: options[tuple(key)] for name, *key in _NAMED}


def _of_layer(group, measure, layer):
    """Peak, end, or fall from where the other seeds peak, over seeds."""
    place = group["layers"].index(layer)
    curves = np.array([_study()["runs"][run]["linear"][place] for run in group["runs"]])
    values = {
        "linear_peak": curves.max(axis=1),
        "linear_end": curves[:, -1],
        "linear_fall_by_others": falls_by_other_peaks(curves),
    }
    return interval_summary(values[measure].tolist(), _study()["interval_level"])


def _r(group, layer, signal="instance", span="all", eps=_SMALL):
    """Rank correlation with the linear probe."""
    place = group["layers"].index(layer)
    scale = _study()["eps"].index(eps)
    found = group["correlations"]["linear"][signal][span]
    return {end: found[end][scale][place] for end in ("mean", "low", "high")}


def _r_cell(found):
    """With its interval where two seeds or more have one."""
    if found["mean"] is None:
        return "-"
    return f"{number(found['mean'], 2)} (one seed)" if found["low"] is None else _cut(found)


def _late():
    """Name, layer and group of every row."""
    return [(name, layer, group) for name, group in _groups().items() for layer in _LAYERS]


def _misses_zero(found):
    return found["low"] is not None and (found["low"] > 0 or found["high"] < 0)


def falls_by_group():
    """Rows of accuracies, representation and embedding."""
    rows = []
    for name, group in _groups().items():
        cells = [name]
        for layer in _LAYERS:
            cells += [
                number(100 * _of_layer(group, f"linear_{end}", layer)["mean"])
                for end in ("peak", "end")
            ]
            cells.append(interval(_of_layer(group, "linear_fall_by_others", layer), scale=100))
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def correlations():
    """Rows by group and late layer."""
    return [
        f"| {name} | {_LAYERS[layer]} | "
        + " | ".join(
            _r_cell(_r(group, layer, signal, span, eps))
            for span in ("all", "after_peak")
            for signal, eps in (("instance", _SMALL), ("instance", _LARGE), ("updates", _SMALL))
        )
        + " |"
        for name, layer, group in _late()
    ]


def falls_above_zero():
    """Which layers fall."""
    found = {
        layer: [
            (name, fall)
            for name, group in _groups().items()
            for fall in [_of_layer(group, "linear_fall_by_others", layer)]
            if fall["low"] > 0
        ]
        for layer in ("layer1", "layer2", *_LAYERS)
    }
    late, early = (
        [f"{words} of {name}" for layer, words in names.items() for name, _ in found[layer]]
        for names in (_LAYERS, {"layer1": "layer 1", "layer2": "layer 2"})
    )
    count = 2 * len(_groups())
    return (
        f"Of {count} falls {len(late)} have an interval above zero: {'; '.join(late)}. By chance "
        f"one would. In layers 1 and 2 it is {len(early)} of {count}: {'; '.join(early)}"
    )


def against_updates():
    """Delta R against the number of updates, over all checkpoints."""
    counts = []
    for layer in _LAYERS:
        groups = _groups().values()
        better = sum(
            _r(group, layer)["mean"] > _r(group, layer, "updates")["mean"] for group in groups
        )
        counts.append(f"{better} of {len(groups)}")
    return (
        f"At eps 0.03 it correlates better than the number of updates in {counts[0]} groups for "
        f"the representation and in {counts[1]} for the embedding"
    )


def after_the_peak():
    """Signs of the correlations from the peak on."""
    words = []
    for layer, name in _LAYERS.items():
        found = [_r(group, layer, span="after_peak") for group in _groups().values()]
        measured = [each for each in found if each["mean"] is not None]
        below = sum(each["mean"] < 0 for each in measured)
        words.append(f"in {below} of {len(measured)} groups for the {name}")
    return f"From the peak on its correlation is negative {words[0]}, {words[1]}"


def classes():
    """Class Delta R, which needs labels."""
    late = _late()
    other = [
        (name, layer, group)
        for name, layer, group in late
        if abs(_r(group, layer, "class")["mean"] - _r(group, layer)["mean"]) > 0.2
    ]
    ((name, layer, group),) = other
    return (
        f"Class Delta R, which needs labels, is within 0.2 of instance Delta R in "
        f"{len(late) - len(other)} of {len(late)} correlations (all checkpoints, eps 0.03). The "
        f"other is the {_LAYERS[layer]} of {name}: {_cut(_r(group, layer, 'class'))} beside "
        f"{_cut(_r(group, layer))}"
    )


def gaps():
    """The gap between training and held-out images."""
    found = [_r(group, layer, "gap") for _, layer, group in _late()]
    above = sum(_misses_zero(each) and each["mean"] > 0 for each in found)
    below = sum(_misses_zero(each) and each["mean"] < 0 for each in found)
    return (
        f"Of {len(found)} correlations of the gap (late layers, eps 0.03) {above} have an interval "
        f"above zero and {below} below"
    )


def checkpoints():
    """How many, and updates."""
    counts = [len(run["steps"]) for run in _study()["runs"]]
    last = max(run["steps"][-1] for run in _study()["runs"])
    return f"{min(counts)} to {max(counts)} checkpoints, small networks, and at most {last} updates"


PAGES: tuple[Page, ...] = (
    Page(
        "experiments/docs/umm.md",
        held=(
            minutes_of_the_queue,
            repair,
            repaired,
            advised,
            neighbours,
            alignment,
            representation,
            rates_over_training,
            grid,
            search,
            searched,
            never_above_the_representation,
            untouched,
            transferred,
            one_of_four,
            untouched_representation,
            barlow_twins,
            little,
            little_gains,
            little_embedding,
            little_rates,
            little_alignment,
            little_layers,
            little_settings,
            undone,
        ),
        said={
            "definition": (
                "means and 90 % intervals over seeds",
                "with inner rate 0.1:",
                "the highest linear probe of that search (w 0.3)",
                "In neighbours eps 0.1 and",
            ),
            "source": ("only eps^2 = 0.1, one inner step",),
        },
    ),
    Page(
        "experiments/docs/overfitting.md",
        held=(
            falls_by_group,
            correlations,
            falls_above_zero,
            against_updates,
            after_the_peak,
            classes,
            gaps,
            checkpoints,
        ),
        said={
            "definition": (
                "means and 90 % intervals over seeds",
                "all: eps 0.03",
                "from the peak on: eps 0.03",
                "At eps 0.03 it follows",
                "Delta R at eps 0.03 falls",
            )
        },
    ),
)
