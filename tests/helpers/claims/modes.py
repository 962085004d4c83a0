"""Modes: sooner, their meaning, their memorisation."""

import math

import numpy as np

from claims.page import Page
from claims.stored import interval, number, stored
from experiments.tables import inside, interval_of

# memorization-modes

STUDIES = ("fixed", "fresh", "resnet18")
_STATE, _CHANGE = ("states", "before", "numbers"), ("changes", "full", "from_control", "numbers")
_LESS = "linear_unseen_removed_"
_STATES = ("before", "control", "full")
_ROWS = {  # label: section, key, scale, digits
    "memorisation, new views (ratio)": (_STATE, "new_ratio", 1, 2),
    "memorisation, views seen (ratio)": (_STATE, "seen_ratio", 1, 2),
    "the same of shared images": (_STATE, "seen_shared_ratio", 1, 2),
    "relative, first half of the modes †": (_STATE, "{views}_relative_first_half", 1, 2),
    "relative, last half †": (_STATE, "{views}_relative_last_half", 1, 2),
    "relative memorisation and variance, Spearman †": (
        _STATE, "memorization_variance_correlation", 1, 2,
    ),
    "relative memorisation and class share, variance held fixed †": (
        _STATE, "memorization_class_correlation_given_variance", 1, 2,
    ),
    "linear probe, %": (_STATE, "linear_unseen", 100, 3),
    "without the most memorising half †": (_STATE, f"{_LESS}most_0.5", 100, 2),
    "without the least memorising half †": (_STATE, f"{_LESS}least_0.5", 100, 2),
    "without a random half": (_STATE, f"{_LESS}random_0.5", 100, 2),
    "without the first half": (_STATE, f"{_LESS}first_0.5", 100, 2),
    "without the last half": (_STATE, f"{_LESS}last_0.5", 100, 2),
    "more memorising of two neighbours removed, less the other †": (
        _STATE, f"{_LESS}more_less_less_neighbours", 100, 2,
    ),
    "UMM: memorisation (ratio) †": (_CHANGE, "{views}_ratio", 1, 2),
    "UMM: memorisation (relative) †": (_CHANGE, "{views}_relative", 1, 2),
    "UMM: Delta R, nats": (_CHANGE, "instance_reduction", 1, 2),
    "UMM: linear probe, unseen images": (_CHANGE, "linear_unseen", 100, 2),
    "UMM: linear probe, own images": (_CHANGE, "linear_own", 100, 2),
    "UMM: neighbours, unseen images": (_CHANGE, "knn_unseen", 100, 2),
}  # fmt: skip


def group_of(study):
    """The group of a stored study of memorisation by modes."""
    return stored(f"memorization_modes/{study}/memorization_modes.json", "groups", 0)


def memorising_modes():
    """Rows of the table of the page of memorization-modes."""
    groups = [group_of(study) for study in STUDIES]
    rows = []
    for label, (section, key, scale, digits) in _ROWS.items():
        cells = []
        for group in groups:
            name = key.format(views="seen" if group["fixed_views"] else "new")
            cells.append(interval_of(inside(group, *section), name, scale=scale, digits=digits))
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return rows


def _outside(found):
    """Whether an interval excludes 0."""
    return found["low"] > 0 or found["high"] < 0


def _band(study, key, band, section=_STATE):
    """A value of one of eight groups of neighbouring modes."""
    found = inside(group_of(study), *section[:-1], "bands", key)
    return {end: found[end][band] for end in ("mean", "low", "high")}


def _measure(study, key, section=_STATE):
    return inside(group_of(study), *section, key)


def _ends(texts):
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _first_half(study, views):
    """Share of the memorisation in absolute size that the first half of the modes holds, in %."""
    halves = [
        _measure(study, f"{views}_absolute_{half}_half")["mean"] for half in ("first", "last")
    ]
    return 100 * halves[0] / sum(halves)


def what_memorises():
    """Views and images, and their modes."""
    new, seen, shared = (
        interval(_measure("fixed", key), 3 if key == "new_ratio" else 2)
        for key in ("new_ratio", "seen_ratio", "seen_shared_ratio")
    )
    fresh = interval(_measure("fresh", "new_ratio"), 3)
    images = interval(_measure("resnet18", "new_ratio"), 2)
    first, last = (interval(_band("resnet18", "new_relative", band), 2) for band in (0, 7))
    ratio = [interval(_band("resnet18", "new_ratio", band), 2) for band in (0, 7)]
    of_views = [interval(_band("fixed", "seen_relative", band), 2) for band in (0, 1, 7)]
    correlations = [
        interval(_measure(study, "memorization_variance_correlation"), 2)
        for study in ("resnet18", "fixed", "fresh")
    ]
    shares = _first_half("fixed", "seen"), _first_half("resnet18", "new")
    return [
        f"on new views, SSLMem's definition, the ratio score is {new} (networks trained on fresh "
        f"views: {fresh}). What the network memorises "
        f"is the pairs of views that it has seen, by {seen}; for shared images, which g has seen "
        f"in other views, by {shared}. In the ResNet images are memorised, by {images}",
        f"relative memorisation grows from {first} in the first eighth of the modes to {last} in "
        f"the last (rank correlation with variance {correlations[0]}; {correlations[2]} in the "
        f"convnets of fresh views). The ratio form is not flat: "
        f"it falls from {ratio[0]} to {ratio[1]}",
        f"the first quarter memorises most ({of_views[0]} and {of_views[1]}, {of_views[2]} in the "
        f"last eighth; correlation {correlations[1]})",
        f"the first half of the modes holds {number(shares[0])} % of the memorisation of views and "
        f"{number(shares[1])} % of that of images",
    ]


def what_umm_removes():
    """Memorisation beyond further training, by bands."""
    views = [_band("fixed", "seen_relative", band, _CHANGE) for band in range(8)]
    assert [band["high"] < 0 for band in views] == [place != 3 for place in range(8)]
    falls = sorted(-band["mean"] for band in views)
    images = [
        interval(_measure("resnet18", f"new_{form}", _CHANGE), 2) for form in ("ratio", "relative")
    ]
    late = [interval(_band("resnet18", "new_relative", band, _CHANGE), 3) for band in (5, 6, 7)]
    added = [interval(_band("fixed", "instance_reduction", band, _CHANGE)) for band in (2, 3, 0)]
    alone = [
        interval(_band("fixed", "linear_unseen_only", band, _CHANGE), scale=100) for band in (0, 2)
    ]
    return [
        f"the ratio score changes by {interval(_measure('fixed', 'seen_ratio', _CHANGE), 2)} "
        f"beyond further training, relative memorisation falls by {number(falls[0], 2)} to "
        f"{number(falls[-1], 2)} (the fourth band changes by {interval(views[3], 2)}, which "
        f"includes 0)",
        f"{images[0]} in ratio form, {images[1]} in relative form; the last three bands change by "
        f"{_ends(late)}",
        f"it changes Delta R by {added[0]} and {added[1]} nats in the third and fourth band of the "
        f"convnet and by {added[2]} in the first",
        f"a probe of the first band alone changes by {alone[0]} points, one of the third by "
        f"{alone[1]}",
    ]


def accuracy_of_umm():
    """Accuracy beyond further training, by probe and study."""
    found = {
        probe: [_measure(study, probe, _CHANGE) for study in STUDIES]
        for probe in ("linear_own", "linear_unseen", "knn_unseen", "knn_own")
    }
    texts = {
        probe: [interval(each, scale=100) for each in values] for probe, values in found.items()
    }
    own = texts["linear_own"]
    outside = {probe: sum(map(_outside, values)) for probe, values in found.items()}
    assert outside == {"linear_own": 2, "linear_unseen": 0, "knn_unseen": 0, "knn_own": 3}
    return [
        f"changes by {own[0]} points where views were memorised, by {own[1]} where they were not "
        f"and by {own[2]} in the ResNet",
        f"{_ends(texts['linear_unseen'])}, or for nearest neighbours among them: "
        f"{_ends(texts['knn_unseen'])}",
        f"Among own images these change by {_ends(texts['knn_own'])}",
        f"{sum(outside.values())} of these {sum(map(len, found.values()))} intervals exclude 0",
    ]


def removing_modes():
    """Accuracy without memorising modes."""
    halves = [
        interval(_measure(study, f"{_LESS}most_less_random_0.5"), scale=100) for study in STUDIES
    ]
    key = f"{_LESS}more_less_less_neighbours"
    found = [
        [inside(group_of(study), "states", state, "numbers", key) for study in STUDIES]
        for state in _STATES
    ]
    texts = [_ends([interval(each, scale=100) for each in row]) for row in found]
    every = [each for row in found for each in row]
    ends = [
        (
            number(100 * min(row[place]["low"] for row in found for place in places)),
            number(100 * max(row[place]["high"] for row in found for place in places)),
        )
        for places in ((0, 1), (2,))
    ]
    return [
        f"the probe loses more than without a random half where views are memorised ({halves[0]} "
        f"points); in the two others the difference is not resolved ({halves[1]} and {halves[2]})",
        f"changes the probe by {texts[0]} points; after further training by {texts[1]}; after UMM "
        f"by {texts[2]}",
        f"Of these {len(every)} intervals {sum(map(_outside, every))} excludes 0, and about one is "
        f"expected to by chance. They reach from {ends[0][0]} to {ends[0][1]} points in the "
        f"convnets and from {ends[1][0]} to {ends[1][1]} in the ResNet",
    ]


# modes

_ORDER = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_PARTS = {
    "nothing": "nothing (two draws)",
    "jitter": "jitter",
    "grey": "greyscale",
    "colour": "all colour changes",
    "crop": "crop",
    "flip": "flip",
    "blur": "blur",
}


def _two(value):
    """A share or a correlation."""
    return number(value, 2)


def _modes(name, *path):
    return stored(f"modes/{name}/modes.json", *path)


def _size(name, statistic, mode, group=0):
    """Size of a correlation over seeds, with its interval."""
    found = _modes(name, "groups", group)
    column = found["statistics"].index(statistic)
    mean, low, high = (
        _two(found["correlation"][end][mode][column]) for end in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]"


def _share(name, statistic, count, curve="first", group=0):
    found = _modes(name, "groups", group)
    place = found["counts"].index(count)
    column = found["statistics"].index(statistic)
    return _two(found["explained"][curve]["mean"][place][column])


def _shares(name, curve="first"):
    hue, saturation, brightness = (
        _share(name, statistic, 8, curve) for statistic in ("hue", "saturation", "brightness")
    )
    return f"{hue}, {saturation} and {brightness}"


def _overlap(name, count, one, other):
    """Mean overlap of the first modes of two groups of networks."""
    found = _modes(name, "overlap")
    place = found["counts"].index(count)
    rows, labels = found["mean"][place], found["labels"]
    value = rows[labels.index(one)][labels.index(other)]
    return math.nan if value is None else value


def _accuracy(name, curve, count):
    found = _modes(name, "groups", 0)
    return number(100 * found["accuracy"][curve]["mean"][found["counts"].index(count)])


def _lost(name, count):
    """Points that the probe of all modes loses without the first ones."""
    found = _modes(name, "groups", 0)
    every, without = (
        found["accuracy"][curve]["mean"][found["counts"].index(modes)]
        for curve, modes in (("first", 16), ("without", count))
    )
    return number(100 * (every - without))


def _gain(name, count, over="random"):
    found = _modes(name, "groups", 0)
    place = found["counts"].index(count)
    return {end: found["gain"][over][end][place] for end in ("mean", "low", "high")}


def _linear_sizes(name):
    """Sizes of correlations of the linear model's modes, by statistic."""
    found = _modes(name, "augmentations")
    sizes = np.abs(found["rows"][0]["correlation"])
    return {key: sizes[:, place] for place, key in enumerate(found["statistics"])}


def linear_modes():
    """What the linear model's modes follow."""
    texts = []
    for name in ("linear_cifar10", "linear_imagenette"):
        sizes = _linear_sizes(name)
        single = max(
            size
            for key, row in sizes.items()
            if key not in ("colour", "class")
            for size in row[1:3]
        )
        texts.append((
            _two(sizes["brightness"][0]),
            _two(sizes["hue"][3]),
            _two(single),
            _two(max(sizes["class"][1:3])),
            _ORDER[1 + int(np.argmax(sizes["class"][1:3]))],
        ))  # fmt: skip
    cifar, other = texts
    return [
        f"its first mode is brightness (correlation {cifar[0]}), the second and third are patterns "
        f"over the image (no single statistic of colour, texture or place above {cifar[2]}; "
        f"`class` has {cifar[3]} with the {cifar[4]}), and the fourth is hue ({cifar[1]})",
        f"brightness has {other[0]} with the first, hue {other[1]} with the fourth "
        f"(no single statistic above {other[2]} with the two between; "
        f"`class` has {other[3]} with the {other[4]})",
    ]


def first_modes():
    """Modes after 100 updates, beside untrained networks and random directions."""
    values = np.array([run["eigenvalues"] for run in _modes("cifar10_early", "runs")])
    group = _modes("cifar10_early", "groups", 0)
    hue = group["statistics"].index("hue")
    assert group["significant"][2][hue] == len(group["seeds"])
    other = _modes("imagenette_early", "groups", 0)["correlation"]["mean"]
    most = _two(max(row[hue] for row in other))
    explained = [
        _share(f"{name}_early", "brightness", 2, curve)
        for name, curve in (
            ("cifar10", "first"), ("imagenette", "first"), ("cifar10", "untrained"),
            ("imagenette", "untrained"), ("cifar10", "random"), ("imagenette", "random"),
        )
    ]  # fmt: skip
    alike = [
        _two(_overlap(f"{name}_early", 2, "barlow_twins", "untrained"))
        for name in ("cifar10", "imagenette")
    ]
    assert values[:, 2:].max() < 0.02
    return [
        f"(eigenvalues {_two(values[:, :2].min())} to {_two(values[:, :2].max())}, the others "
        f"below 0.02). These two explain {explained[0]} of the variance of brightness in the mean",
        f"({_size('cifar10_early', 'hue', 2)}, beyond chance in every seed)",
        f"the first two explain {explained[1]} of brightness; no mode follows hue above {most}",
        f"explain {explained[2]} and {explained[3]} of brightness already, and overlap with those "
        f"learned by {alike[0]} and {alike[1]}",
        f"explain {explained[4]} and {explained[5]}",
    ]  # fmt: skip


def last_modes():
    """Modes at the end of training."""
    group = _modes("cifar10", "groups", 0)
    colour = [row[group["statistics"].index("colour")] for row in group["significant"]]
    follow = next(mode for mode, count in enumerate(colour) if count < len(group["seeds"]))
    shares = {
        curve: [_shares(name, curve) for name in ("cifar10", "imagenette")]
        for curve in ("first", "random", "untrained")
    }
    learned = [
        sum(value > 0.1 for value in run["eigenvalues"])
        for name in ("cifar10", "imagenette")
        for run in _modes(name, "runs")
    ]
    return [
        f"with {min(learned)} to {max(learned)} modes learned (eigenvalues above 0.1), all first "
        f"{follow} modes of CIFAR-10 follow `colour` beyond chance in every seed",
        f"hue has {_size('cifar10', 'hue', 0)} with the first, {_size('cifar10', 'hue', 3)} with "
        f"the fourth",
        f"the first eight explain {shares['first'][0]} of hue, saturation and brightness on "
        f"CIFAR-10, and {shares['first'][1]} on Imagenette",
        f"almost as much, {shares['random'][0]}, and {shares['random'][1]}",
        f"Untrained networks have {shares['untrained'][0]}, and {shares['untrained'][1]}",
    ]


def colours_by_method():
    """Hue, saturation and brightness of the first modes by method."""
    names = {"simclr": "SimCLR", "vicreg": "VICReg", "barlow_twins": "Barlow Twins"}
    places = {group["label"]: place for place, group in enumerate(_modes("methods", "groups"))}
    rows = []
    for key, label in names.items():
        cells = [
            _size("methods", statistic, mode, places[key])
            for mode, statistic in (
                (0, "hue"), (0, "saturation"), (0, "brightness"), (1, "brightness"),
            )
        ]  # fmt: skip
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return rows


def hue_of_first_modes():
    """Hue of the first mode, its share beside untrained networks and random directions."""
    places = {group["label"]: place for place, group in enumerate(_modes("methods", "groups"))}
    first, untrained, random = (
        _ends(
            [
                _share("methods", "hue", 1, curve, places[key])
                for key in ("simclr", "vicreg", "barlow_twins")
            ]
        )
        for curve in ("first", "untrained", "random")
    )
    sizes = [_size("methods", "hue", 0, places[key]).split()[0] for key in ("simclr", "vicreg")]
    return [
        f"the first mode follows hue by {_ends(sizes)} in SimCLR and VICReg",
        f"the first mode explains {first} of the variance of hue, that of the untrained networks "
        f"{untrained}, and a random direction of the trained embedding {random}",
    ]


_USED = {
    "cifar10": "CIFAR-10, end",
    "cifar10_early": "CIFAR-10, 100 updates",
    "imagenette_early": "Imagenette, 100 updates",
    "imagenette": "Imagenette, end",
}


def _counts(name):
    return (1, 2, 4) if "early" in name else (1, 2, 4, 8)


def gains():
    """Accuracy of first modes less that of random directions."""
    rows = []
    for name, label in _USED.items():
        cells = [interval(_gain(name, count), scale=100) for count in _counts(name)]
        rows.append(f"| {label} | {' | '.join(cells)} |{' |' * ('early' in name)}")
    return rows


def use():
    """Which modes a probe needs."""
    found = {
        count: [_gain(name, count) for name in _USED if count in _counts(name)]
        for count in (1, 2, 4, 8)
    }
    above = {count: sum(gain["low"] > 0 for gain in values) for count, values in found.items()}
    every = sum(map(len, found.values()))
    four = sorted(number(100 * gain["mean"]) for gain in found[4] if gain["low"] > 0)
    below = sum(gain["high"] < 0 for count in (1, 2) for gain in found[count])
    assert above == {1: 0, 2: 0, 4: 3, 8: 1}
    start = [_gain(name, 4, "untrained") for name in _USED]
    assert not any(map(_outside, start))
    more = sorted(100 * gain["mean"] for gain in start)
    both = ("cifar10", "imagenette")
    all_modes = [_accuracy(name, "first", 16) for name in both]
    untrained = [_accuracy(name, "untrained", 16) for name in both]
    without = {count: [_accuracy(name, "without", count) for name in both] for count in (4, 8)}
    lost = [_lost(name, 2) for name in both]
    mixed = interval(_gain("cifar10", 16), scale=100, unit=" points")
    fewer = interval(_gain("kinds", 2), scale=100, unit=" points")
    return [
        f"Four modes gain {four[0]} to {four[-1]} points in {above[4]} of {len(found[4])} cases; "
        f"one or two gain in none of {len(found[1] + found[2])} (in {below} they lose), eight in "
        f"{above[8]} of {len(found[8])}. Over the first four modes of the untrained networks four "
        f"modes gain in none of {len(start)} ({number(more[0])} to {number(more[-1])} points, no "
        f"interval excludes 0)",
        f"Of {every} comparisons {sum(above.values())} resolve a gain, {above[4]} of them for the "
        f"first four modes",
        f"All 16 modes reach {all_modes[0]} % on CIFAR-10 ({untrained[0]} % untrained) and "
        f"{all_modes[1]} % on Imagenette ({untrained[1]} %). Without the first two the "
        f"probe loses {lost[0]} and {lost[1]} points. Without the first four "
        f"{without[4][0]} and {without[4][1]} % are left, without the first eight "
        f"{without[8][0]} and {without[8][1]} %",
        f"is {fewer}, not {number(100 * _gain('cifar10', 2)['mean'])}",
        f"yet differ by {mixed} on CIFAR-10",
    ]  # fmt: skip


_JITTER = 0.2 + 0.8 * math.sin(0.2 * math.pi) / (0.2 * math.pi)  # mean cosine of the turn of hue
_CHROMA = {"nothing": (0.8 * _JITTER) ** 2, "jitter": 0.8**2, "grey": _JITTER**2, "colour": 1.0}


def chroma():
    """Share of chroma's eigenvalue that changes of colour leave."""
    return (
        f"multiply the eigenvalue of chroma by {_two(_CHROMA['nothing'])} (jitter alone by "
        f"{_two(_CHROMA['grey'])}, greyscale alone by {_two(_CHROMA['jitter'])})"
    )


def parts():
    """Linear modes by the part of the views that is left out."""
    found = _modes("linear_cifar10", "augmentations")
    kept = {row["without"]: row for row in found["rows"]}
    hue, four = found["statistics"].index("hue"), found["counts"].index(4)
    rows = []
    for part, label in _PARTS.items():
        row = kept[part]
        sizes = np.abs(row["correlation"])[:, hue]
        best = int(sizes.argmax())
        text = f"{_two(sizes[best])}, the {_ORDER[best]}"
        if best > 5:  # where a late mode follows it, those that mix
            others = sorted(
                (place for place in range(4) if sizes[place] > 0.3), key=sizes.__getitem__
            )
            text += f" ({', '.join(f'{_two(sizes[p])}, the {_ORDER[p]}' for p in others[::-1])})"
        values = [row["eigenvalues"][best if part in ("crop", "flip") else 3]]
        if part == "nothing":
            values.append(kept["nothing, again"]["eigenvalues"][3])
            row = kept["nothing, again"]
        expected = _CHROMA.get(part)
        predicted = (
            "-" if expected is None else number(expected * kept["colour"]["eigenvalues"][3], 0)
        )
        shown = ", ".join(number(value, 0) for value in values)
        rows.append(f"| {label} | {shown} | {predicted} | {_two(row['overlap'][four])} | {text} |")
    return rows


def without_parts():
    """Overlap of four linear modes with those of all views."""
    cifar10, other = (
        {row["without"]: row["overlap"][found["counts"].index(4)] for row in found["rows"]}
        for found in (
            _modes(f"linear_{name}", "augmentations") for name in ("cifar10", "imagenette")
        )
    )
    crop, flip, colour = (_two(other[part]) for part in ("crop", "flip", "colour"))
    assert all(other[part] > 0.9 for part in other if part not in ("crop", "flip"))
    return [
        f"change the overlap more ({_two(cifar10['crop'])} and {_two(cifar10['flip'])}, against "
        f"{_two(cifar10['nothing, again'])} of two draws)",
        f"On Imagenette the overlap is {crop} without crops, {flip} without flips and {colour} "
        f"without colour changes",
    ]


def without_colour():
    """Networks trained on views without changes of colour."""
    full, bare = "barlow_twins, simclr", "barlow_twins, simclr_without_colour"
    places = {group["label"]: place for place, group in enumerate(_modes("colour", "groups"))}
    hue = {
        (label, count, curve): _share("colour", "hue", count, curve, places[label])
        for label in (full, bare)
        for count in (4, 8)
        for curve in ("first", "random")
    }
    alike = {
        (count, pair): _two(_overlap("colour", count, *pair))
        for count in (4, 8)
        for pair in ((bare, full), (full, full), (bare, bare))
    }
    learned = [
        [
            sum(value > 0.06 for value in _modes("colour", "runs", run)["eigenvalues"])
            for run in _modes("colour", "groups", places[label])["runs"]
        ]
        for label in (bare, full)
    ]
    assert min(learned[0]) >= 8
    return [
        f"Their first eight modes explain {hue[bare, 8, 'first']} of hue, those with colour "
        f"changes {hue[full, 8, 'first']} (random directions {hue[bare, 8, 'random']} and "
        f"{hue[full, 8, 'random']}), and the two kinds overlap by {alike[8, (bare, full)]}, as two "
        f"seeds of one kind do ({alike[8, (full, full)]} with, {alike[8, (bare, bare)]} without "
        f"colour changes). At four modes the share of hue is {hue[bare, 4, 'first']} without and "
        f"{hue[full, 4, 'first']} with colour changes, at an overlap of {alike[4, (bare, full)]} "
        f"(seeds {alike[4, (full, full)]} and {alike[4, (bare, bare)]})",
        f"all first eight modes have eigenvalues above 0.06, against {min(learned[1])} to "
        f"{max(learned[1])} with colour changes",
    ]


_OF_METHODS = {
    "barlow_twins": "Barlow Twins",
    "simclr": "SimCLR",
    "vicreg": "VICReg",
    "untrained": "untrained",
}


def overlaps():
    """Overlap of the first modes of methods."""
    rows = []
    names = list(_OF_METHODS)
    for place, one in enumerate(names[:3]):
        cells = [
            ""
            if column < place
            else f"{_two(_overlap('methods', 2, one, other))} "
            f"({_two(_overlap('methods', 4, one, other))})"
            for column, other in enumerate(names)
        ]
        rows.append(f"| {_OF_METHODS[one]} | {' | '.join(cells)} |".replace("|  |", "| |"))
    return [row.replace("|  |", "| |") for row in rows]


def among_overlaps():
    """What the table of overlaps shows, and overlaps of other networks."""
    found = _modes("methods", "overlap")
    chance = [number(found["chance"][found["counts"].index(count)], 3) for count in (2, 4)]
    bare = [_two(_overlap("methods", count, "untrained", "untrained")) for count in (2, 4)]
    first = [
        _two(_overlap("methods", 1, *pair))
        for pair in (("simclr", "vicreg"), ("barlow_twins", "simclr"), ("barlow_twins", "vicreg"))
    ]
    seeds = [
        _two(_overlap(name, 8, "barlow_twins", "barlow_twins"))
        for name in ("cifar10", "imagenette")
    ]
    apart = [
        _two(_overlap(name, 8, "barlow_twins", "untrained")) for name in ("cifar10", "imagenette")
    ]
    return [
        f"(means; chance {chance[0]} and {chance[1]}, untrained with untrained {bare[0]} and "
        f"{bare[1]})",
        f"of SimCLR and VICReg overlaps by {first[0]}, of either and Barlow Twins by {first[1]} "
        f"and {first[2]}",
        f"overlap by {seeds[0]} on CIFAR-10 and {seeds[1]} on Imagenette, those of trained and "
        f"untrained networks by {apart[0]} and {apart[1]}",
    ]


def other_kinds():
    """A supervised network and a masked autoencoder."""
    twins, labels, masked = (
        "barlow_twins, convnet, simclr", "supervised, convnet, simclr", "mae, vit_tiny, mask",
    )  # fmt: skip
    pairs = ((twins, labels), (twins, masked), (labels, masked), (twins, twins))
    values = [_two(_overlap("kinds", 8, *pair)) for pair in pairs]
    bare = [_overlap("kinds", 8, kind, "untrained") for kind in (twins, labels, masked)]
    groups = _modes("kinds", "groups")
    place = {group["label"]: at for at, group in enumerate(groups)}
    hue = groups[0]["statistics"].index("hue")
    sizes = [
        _two(groups[place[kind]]["correlation"]["mean"][mode][hue])
        for kind, mode in ((labels, 0), (labels, 1), (masked, 1))
    ]
    return [
        f"their first eight modes overlap with those of Barlow Twins by {values[0]} and "
        f"{values[1]}, with each other by {values[2]}, hardly more than trained with untrained "
        f"networks ({_two(min(bare))} to {_two(max(bare))}; two seeds of Barlow Twins "
        f"{values[3]})",
        f"hue has {sizes[0]} and {sizes[1]} with the first two modes of the supervised network, "
        f"and {sizes[2]} with the second of the autoencoder",
    ]


# accelerate

_BARLOW = ("convnet", "resnet18", "resnet18_longer")


def _arms(name):
    return stored(f"acceleration/{name}/acceleration.json", "arms")


def _arm(name, arm="muon+embedding"):
    return stored(f"acceleration/{name}/acceleration.json", "arms", {"arm": arm})


def _place(name, arm):
    """Where in its grid the rate of a way lies: "lowest", "highest" or "inside"."""
    design = stored(f"acceleration/{name}/acceleration.json", "design")
    rates = [each["rate"] for each in design if each["arm"] == arm]
    places = {min(rates): "lowest", max(rates): "highest"}
    return places.get(_arm(name, arm)["rate"], "inside")


def _at_equal_updates(name, arm):
    """Accuracy by the last three checks up to the updates of all ways but the first, in %."""
    steps = stored(f"acceleration/{name}/acceleration.json", "steps")
    values = []
    for curve in _arm(name, arm)["curves"]:
        end = curve["steps"].index(steps) + 1
        values += curve["accuracy"][end - 3 : end]
    return number(100 * np.mean(values))


def _sooner(name, passages):
    """Ratio with its bound and the seeds counted, as the tables have it."""
    seeds = len(stored(f"acceleration/{name}/acceleration.json", "seeds"))
    reached, sooner = passages["reached"], passages["sooner"]
    if reached == 0:
        return "none"
    # Of one or two seeds no interval is worth its width.
    text = number(sooner["mean"]) if reached < 3 else interval(sooner)
    bound = "≥ " if passages["bounds"] else ""
    return f"{bound}{text}" if reached == seeds else f"{bound}{text} ({reached} of {seeds})"


def sooner():
    """How many times sooner than sgd, for Barlow Twins."""
    return [
        f"| {arm['arm']} | {' | '.join(_sooner(name, each) for each in arm['passages'].values())} "
        f"| {number(arm['cost'], 2)} |"
        for name in _BARLOW
        for arm in _arms(name)[1:]
    ]


def other_losses():
    """How many times sooner, and where it ends, for other losses."""
    rows = []
    for name, label in (("simclr", "SimCLR"), ("vicreg", "VICReg")):
        for place, arm in enumerate(_arms(name)):
            ends, first = arm["ends"], place == 0
            cells = [
                f"{label}, sgd (after 1,600 updates)" if first else arm["arm"],
                "1" if first else _sooner(name, arm["passages"]["accuracy"]),
                interval(ends["accuracy"], scale=100),
                interval(ends["effective_rank"]),
                "1" if first else number(arm["cost"], 2),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def in_words():
    """What the tables of ratios show."""
    convnet, resnet, longer = (_arm(name) for name in _BARLOW)
    seconds = [
        interval(arm["passages"][target]["sooner_in_seconds"])
        for arm, target in ((convnet, "mode 8"), (resnet, "mode 8"), (convnet, "accuracy"))
    ]
    reached = {3: "three", 4: "four"}
    short, long = (arm["passages"]["accuracy"] for arm in (resnet, longer))
    return [
        f"With twice the updates muon+embedding reaches the accuracy on {reached[long['reached']]} "
        f"seeds of the ResNet-18 instead of {reached[short['reached']]}, "
        f"{number(long['sooner']['mean'])} times sooner instead of "
        f"{number(short['sooner']['mean'])}",
        f"reaches mode 8 {seconds[0]} times sooner on the convnet and {seconds[1]} times on the "
        f"ResNet-18, and the accuracy {seconds[2]} times on the convnet",
    ]


def same_modes():
    """Numbers of modes and their agreement at the end."""
    ends, sgd = _arm("convnet")["ends"], _arm("convnet", "sgd")["ends"]
    modes = [
        interval(each[key]) for each in (ends, sgd) for key in ("modes_held_out", "modes_seen")
    ]
    accuracies = [interval(each["accuracy"], scale=100) for each in (ends, sgd)]
    agreed = [
        interval(_arm(name, arm)["ends"]["alignment"], 2)
        for name in ("convnet", "resnet18")
        for arm in ("muon+embedding", "sgd")
    ]
    return [
        f"muon+embedding has {modes[0]} modes above 1/2 on held-out pairs and {modes[1]} on pairs "
        f"of training images, sgd after 1,600 updates {modes[2]} and {modes[3]}",
        f"Accuracies are {accuracies[0]} and {accuracies[1]} %",
        f"from other seeds to {agreed[0]}, those trainings with each other to {agreed[1]}; on the "
        f"ResNet-18 this is {agreed[2]} against {agreed[3]}",
    ]


def true_modes():
    """The linear model."""
    arms = _arms("linear")
    half = [arm["passages"]["mode 8"]["sooner"]["mean"] for arm in arms[1:]]
    assert all(arm["passages"]["mode 8"]["reached"] == 5 for arm in arms)
    assert all(_place("linear", arm["arm"]) == "highest" for arm in arms)
    plain, embedding, muon, both = (interval(arm["ends"]["alignment_true"], 2) for arm in arms)
    return [
        f"learn half of the modes {number(min(half))} to {number(max(half))} times sooner than sgd",
        f"{plain} for sgd after 1,600 updates, {embedding} with the embedding, {muon} by muon, "
        f"{both} by both",
        "Every way chose the highest of its rates here",
    ]


def without_plateaus():
    """Other losses in words."""
    vicreg, simclr = (_arm("vicreg", "muon"), _arm("simclr", "muon"))
    ratios = [ratio for ratio in vicreg["passages"]["accuracy"]["ratios"] if ratio is not None]
    assert len(ratios) == 4
    assert sum(ratio < 1 for ratio in ratios) == 1
    sooner = [ratio for ratio in simclr["passages"]["accuracy"]["ratios"] if ratio is not None]
    assert min(sooner) > 1
    for name in ("simclr", "vicreg"):
        assert not any(arm["passages"]["rank"]["reached"] for arm in _arms(name))
    equal = [
        f"{_at_equal_updates(name, 'sgd+embedding')} instead of {_at_equal_updates(name, 'sgd')}"
        for name in ("simclr", "vicreg")
    ]
    assert not any(arm["passages"]["mode 8"]["reached"] for arm in _arms("vicreg"))
    alone, both = (
        [interval(_arm(name, arm)["ends"]["accuracy"], scale=100) for name in ("vicreg", "simclr")]
        for arm in ("muon", "muon+embedding")
    )
    return [
        f"reaches SimCLR's accuracy sooner on {len(sooner)} of 5 seeds",
        "for VICReg four of five seeds get there, one of them later than sgd",
        f"with muon VICReg ends at {both[0]} % instead of {alone[0]}, SimCLR at {both[1]} instead "
        f"of {alone[1]}; with sgd, at equal updates, SimCLR has {equal[0]} and VICReg {equal[1]}",
    ]


def promise():
    """What the answer says."""
    embedding = _arm("convnet", "sgd+embedding")
    plain = interval(_arm("convnet", "sgd")["ends"]["accuracy"], scale=100)
    both = sorted(_arm(name)["passages"]["mode 8"]["sooner"]["mean"] for name in _BARLOW[1:])
    accuracy = [_arm(name)["passages"]["accuracy"] for name in _BARLOW[1:]]
    costs = sorted(_arm(name)["cost"] for name in _BARLOW[1:])
    return [
        f"learns mode 8 {interval(embedding['passages']['mode 8']['sooner'])} times sooner on the "
        f"convnet, but not accuracy ({interval(embedding['ends']['accuracy'], scale=100)} %; sgd "
        f"{_at_equal_updates('convnet', 'sgd')} after as many updates and {plain} after the long "
        f"training)",
        f"{number(both[0])} to {number(both[1])} times in modes; the accuracy is reached on "
        f"{accuracy[0]['reached']} or {accuracy[1]['reached']} of 5 seeds, with more updates "
        f"{number(accuracy[1]['sooner']['mean'])} times sooner",
        f"was {number(costs[0], 2)} and {number(costs[1], 2)} on the ResNet-18",
    ]


def rates():
    """Rates at an end of their grids."""
    for name, arms in (
        ("convnet", ("sgd+embedding", "muon+embedding")),
        ("simclr", ("muon", "sgd+embedding")),
        ("vicreg", ("muon", "sgd+embedding")),
        ("resnet18", ("muon+embedding",)),
    ):
        highest = {arm["arm"] for arm in _arms(name) if _place(name, arm["arm"]) == "highest"}
        assert highest - {"adamw"} == set(arms)
    assert {_place("resnet18", arm) for arm in ("sgd", "muon")} == {"lowest"}
    assert {_place("resnet18_longer", arm["arm"]) for arm in _arms("resnet18_longer")} == {"inside"}
    sgd, muon, both = (_arm("resnet18", arm)["rate"] for arm in ("sgd", "muon", "muon+embedding"))
    return (
        f"sgd ({sgd}) and muon ({muon}) have the lowest of two and muon+embedding ({both}) the "
        f"highest"
    )


PAGES = (
    Page(
        "experiments/docs/memorization_modes.md",
        held=(
            memorising_modes, what_memorises, what_umm_removes, accuracy_of_umm, removing_modes,
        ),
        said={"definition": ("Means and 90 % intervals over encoder pairs",)},
    ),
    Page(
        "experiments/docs/modes.md",
        held=(
            linear_modes, first_modes, last_modes, colours_by_method, hue_of_first_modes, gains,
            use, chroma, parts, without_parts, without_colour, overlaps, among_overlaps,
            other_kinds,
        ),
        said={
            "definition": (
                "fewer than 5 % of the permutations",
                "means and 90 % intervals over three seeds",
                "crops of 12 of 16 pixels",
            )
        },
    ),
    Page(
        "experiments/docs/accelerate.md",
        held=(
            sooner, other_losses, in_words, same_modes, true_modes, without_plateaus, promise, rates,
        ),
        said={
            "definition": (
                "p (1), `-ridge` rho (0.1)",
                "q (0.5), `-ridge` delta (0.1)",
                "momentum 0.9",
                "geometric means with 90 % intervals over seeds",
                "mode 8 of 16 | mode 12 | effective rank 14.4",
                "rates of sgd from 0.01",
                "effective rank 14.4 is reached by none",
                "effective rank above 0.9 d",
                'A cell with "(4 of 5)"',
            )
        },
    ),
)  # fmt: skip
