"""Memorisation and removal."""

from itertools import pairwise

from scipy import stats

from claims.page import Page
from claims.stored import interval, number, stored

_LAYERS = {
    "layer1": "layer 1",
    "layer2": "layer 2",
    "layer3": "layer 3",
    "backbone": "representation",
    "projector": "embedding",
}
_METHODS = {"vicreg": "VICReg", "byol": "BYOL", "supervised": "supervised"}
_KINDS = {
    "collage": "collages",
    "inverted": "inverted",
    "colours": "exchanged colours",
    "noise": "blended with noise",
    "any": "all",
}
_OTHERS = {
    "simclr_seeds": "SimCLR, other seeds",
    "vicreg": "VICReg",
    "barlow_twins": "Barlow Twins",
    "mlp": "SimCLR, an MLP of 256, 256",
    "supervised": "supervised",
    "views_simclr": "SimCLR's own views (`--views simclr`)",
    "views_strong": "strong views",
}


def _study(name):
    return stored(f"memorization/{name}/memorization.json")


def _row(*cells):
    return f"| {' | '.join(cells)} |"


def _of_layer(name, layer, *path):
    """What a study has for a layer."""
    values = _study(name)
    place = values["layers"].index(layer)
    for part in path:
        values = values[part]
    return values[place]


def _sets(name, layer, form=None):
    return _of_layer(name, layer, *(["forms", form, "sets"] if form else ["sets"]))


def _above(name, layer, form=None, below="shared", above="candidate"):
    """A set less another one."""
    for found in _sets(name, layer, form)["comparisons"]:
        if (found["above"], found["below"]) == (above, below):
            return {**found, "mean": found["difference"]}
    raise AssertionError((name, above, below))


def _pairs(name, layer, which=""):
    return number(_sets(name, layer)[f"agreement_of_pairs{which}"], 2)


def _cut(found, low, high):
    """An interval within the range of its quantity."""
    return {**found, "low": max(found["low"], low), "high": min(found["high"], high)}


def layers():
    """Candidates less shared images, layer by layer."""
    return [
        _row(
            label,
            *(
                interval(_above(name, layer, form), 3)
                for name in ("resnet18", "convnet")
                for form in ("raw", "ratio")
            ),
        )
        for layer, label in _LAYERS.items()
    ]


def where():
    """What the table of layers shows."""
    external = interval(_above("resnet18", "backbone", "raw", "external"), 3)
    both = _study("resnet18")["layer_agreement"][0]
    assert {both["layer"], both["other_layer"]} == {"backbone", "projector"}
    ratio = [number(_above("convnet", layer, "ratio")["mean"], 3) for layer in _LAYERS][-2:]
    followed = [
        number(_of_layer("resnet18", layer, "forms", form, "loss_correlation"), 2)
        for form in ("raw", "ratio")
        for layer in ("backbone", "projector")
    ]
    resnet, small, embedding = (
        (_pairs(name, layer), _pairs(name, layer, "_external"))
        for name, layer in (
            ("resnet18", "backbone"),
            ("convnet", "backbone"),
            ("convnet", "projector"),
        )
    )
    return [
        f"the representation has {ratio[0]} in ratio form, the embedding {ratio[1]}",
        f"Less external images, which neither encoder saw, it is {external}",
        f"agree (Kendall's tau {number(both['tau'], 2)} over the {both['points']} candidates), and "
        f"rankings by two encoder pairs too ({resnet[0]} in the representation; external images "
        f"{resnet[1]})",
        f"single images cannot be ranked ({small[0]}; external images {small[1]}); its embedding "
        f"has {embedding[0]} (external images {embedding[1]})",
        f"closely (Spearman {followed[0]} in the ResNet's representation, {followed[1]} in its "
        f"embedding)",
        f"The ratio form does so less ({followed[2]}, {followed[3]})",
    ]


def _agreement(method):
    (found,) = _study(f"{method}_resnet18")["agreement"]
    assert (found["layer"], found["other_layer"]) == ("backbone", "backbone")
    ends = {"low": found["corrected_low"], "high": found["corrected_high"]}
    return {**found, "cut": _cut({"mean": found["corrected"], **ends}, -1, 1)}


def methods():
    """Other methods beside SimCLR."""
    other = _agreement("vicreg")["other_reliability"]
    own, outside = _pairs("resnet18", "backbone"), _pairs("resnet18", "backbone", "_external")
    forms = [interval(_above("resnet18", "backbone", form), 3) for form in ("raw", "ratio")]
    rows = [_row("SimCLR", *forms, own, outside, "-", "-", number(other, 2), "-")]
    for method, label in _METHODS.items():
        name, found = f"{method}_resnet18", _agreement(method)
        cells = [interval(_above(name, "backbone", form), 3) for form in ("raw", "ratio")]
        cells += [_pairs(name, "backbone"), _pairs(name, "backbone", "_external")]
        cells += [number(found[key], 2) for key in ("tau", "correlation", "reliability")]
        rows.append(_row(label, *cells, interval(found["cut"], 2)))
    return rows


def among_methods():
    """What the table of methods shows."""
    found = {method: _agreement(method) for method in _METHODS}
    corrected = [number(found[method]["corrected"], 2) for method in _METHODS]
    plain = [number(found[method]["correlation"], 2) for method in _METHODS]
    late = [
        number(_above(name, "projector", "raw")["mean"], 2)
        for name in ("byol_resnet18", "resnet18", "vicreg_resnet18")
    ]
    assert found["byol"]["corrected_high"] > 1
    assert min(each["corrected_low"] for each in found.values()) > 0
    return [
        f"BYOL also has the least in the embedding: {late[0]}, against {late[1]} and {late[2]}",
        f"VICReg and BYOL rank images as SimCLR does by {corrected[0]} and {corrected[1]}, the "
        f"supervised network by {corrected[2]}",
        f"Without the correction the same numbers are {plain[0]}, {plain[1]} and {plain[2]}",
    ]


_PLACES = [(layer, form) for layer in ("backbone", "projector") for form in ("raw", "ratio")]


def _outlier(kind, layer, form):
    return _of_layer("outliers", layer, "forms", form, "atypical")["candidate"][kind]


def outliers():
    """AUC of outliers by kind, layer and form."""
    return [
        _row(label, *(interval(_outlier(kind, *place), 2) for place in _PLACES))
        for kind, label in _KINDS.items()
    ]


def among_outliers():
    """What the table of outliers shows."""
    all_kinds = _outlier("any", "backbone", "raw")
    raw, ratio = (interval(_above("outliers", "backbone", form), 3) for form in ("raw", "ratio"))
    agreed = _pairs("outliers", "backbone"), _pairs("outliers", "backbone", "_external")
    single = [kind for kind in _KINDS if kind != "any"]
    outside = {
        (kind, layer, form)
        for kind in single
        for layer, form in _PLACES
        if (found := _outlier(kind, layer, form))["low"] > 0.5 or found["high"] < 0.5
    }
    assert {("colours", *place) for place in _PLACES} | {
        ("collage", layer, "raw") for layer in ("backbone", "projector")
    } == outside
    assert all(_outlier("colours", *place)["high"] < 0.5 for place in _PLACES)
    return [
        f"Of the {len(single) * len(_PLACES)} intervals of single kinds {len(outside)} exclude 0.5",
        f"Planted outliers as such are not memorised more than other images: "
        f"{interval(all_kinds, 2)}",
        f"the representation memorises less than above: {raw} raw, {ratio} in ratio form",
        f"Two encoder pairs agree hardly better on candidates than on external images (Kendall's "
        f"tau {agreed[0]} and {agreed[1]})",
    ]


def _atypical(name, layer, form, images):
    return _of_layer(name, layer, "atypicality", "forms", form)[images]


_ATYPICAL = (("backbone", "raw"), ("backbone", "ratio"), ("projector", "raw"))


def atypicality():
    """Correlations of scores with atypicality."""
    rows = []
    for name, images, what in (
        ("resnet18", "all", "candidates"),
        ("outliers", "natural", "natural candidates"),
    ):
        for layer, form in _ATYPICAL:
            found = _atypical(name, layer, form, images)
            first = f"{name}, {found['points']} {what}" if (layer, form) == _ATYPICAL[0] else ""
            cells = [interval(found[key], 2) for key in ("spearman", "given_loss")]
            rows.append(_row(first, f"{_LAYERS[layer]}, {form}", *cells).replace("|  |", "| |"))
    return rows


def among_atypical():
    """What the table of atypicality shows."""
    found = [
        _atypical(name, layer, form, images)
        for name, images in (("resnet18", "all"), ("outliers", "natural"))
        for layer, form in _ATYPICAL
    ]
    loss = [number(each["loss"]["mean"], 2) for each in (found[0], found[3])]
    above = [each["spearman"]["low"] > 0 for each in found]
    assert above == [form == "raw" for _, form in _ATYPICAL] * 2
    assert not any(each["given_loss"]["low"] > 0 for each in found)
    below = sum(each["given_loss"]["high"] < 0 for each in found)
    return [
        "all four correlations are above 0, neither of the two in ratio form is",
        f"for an encoder that has not seen them ({loss[0]} and {loss[1]})",
        f"no correlation is above 0, and {below} of {len(found)} are below",
    ]


def _predictor(layer, form, which):
    (found,) = (each for each in _study("influence")["predictors"] if each["layer"] == layer)
    return found["forms"][form][which]  # fmt: skip


def influence():
    """Predictors of the scores of retraining."""
    names = {
        "influence": "influence",
        "gradient_norm": "squared norm of the gradient",
        "loss": "alignment loss",
    }
    rows = []
    for key, label in names.items():
        cells = []
        for form in ("raw", "ratio"):
            found = _predictor("backbone", form, key)
            given = found["given_loss"]
            cells += [number(found["tau"], 2), interval(given, 2) if given else "-"]
        rows.append(_row(label, *cells))
    return rows


def among_predictors():
    """Influence beside the plain loss."""
    own, loss = (
        interval(_predictor("backbone", "raw", key)["spearman"], 2) for key in ("influence", "loss")
    )
    assert all(
        _predictor("backbone", form, key)["given_loss"]["low"] < 0
        for form in ("raw", "ratio")
        for key in ("influence", "gradient_norm")
    )
    return f"predicts retraining at least as well (Spearman {loss}, influence {own})"


def units():
    """UnitMem of the ResNet's representation."""
    found = _of_layer("resnet18", "backbone", "unit_memorization")
    maxima = [
        f"{number(100 * found[key]['overlap']['mean'], 0)} %" for key in ("maxima_f", "maxima_g")
    ]
    return [
        f"UnitMem of the ResNet's {found['unit_count']} representation units is "
        f"{interval(found['f_candidate'], 3)} on candidates under f and "
        f"{interval(found['g_candidate'], 3)} under g, a difference of "
        f"{interval(found['above_g'], 3)}",
        f"the contrast is {interval(found['contrast'], 3)}",
        f"({maxima[0]} of them are among the top {found['top']} of {found['points']}, "
        f"{maxima[1]} under g; {number(100 * found['maxima_f']['chance'], 0)} % at random)",
    ]


def _p(value):
    return f"{value:.0e}".replace("e-0", "e-")


def _with_error(name, layer, below="shared", above="candidate"):
    found = _above(name, layer, None, below, above)
    return f"{number(found['mean'], 3)} ± {number(found['standard_error'], 3)}"


def sets():
    """The four sets of the small convnets."""
    first = _above("split", "projector")
    error = number(first["standard_error"], 3)
    others = [
        number(_above("split", "projector", None, below, above)["mean"], 3)
        for above, below in (
            ("candidate", "external"),
            ("shared", "independent"),
            ("external", "independent"),
        )
    ]
    offset = number(_sets("split", "projector")["offset"], 4)
    pairs = _study("split")["seeds"]
    assert pairs == 5
    return [
        f"candidates score above shared images by {number(first['mean'], 3)} ± {error} (standard "
        f"error over five encoder pairs; p = {_p(first['p'])}) and above external images by "
        f"{others[0]}; independent images score below both by {others[1]} and {others[2]}",
        f"The offset, the mean score of shared images, is {offset}",
    ]


def layers_of_convnets():
    """Layers and checkpoints of the small convnets."""
    curve = {point["step"]: point["comparisons"][0] for point in _study("split")["curve"]}
    start, early, *_, end = (number(point["difference"], 3) for point in curve.values())
    assert list(curve)[:2] == [0, 500]
    assert list(curve)[-1] == 2500
    assert all(
        one["difference"] < other["difference"] for one, other in pairwise(list(curve.values()))
    )
    signs = [
        _above("split", "layer1", None, below)["mean"] > 0 for below in ("shared", "external")
    ]  # fmt: skip
    assert signs == [False, True]
    largest = max(
        abs(found["difference"])
        for layer in ("layer1", "layer2")
        for found in _sets("split", layer)["comparisons"]
    )
    return [
        f"{_with_error('split', 'projector')} in the embedding, "
        f"{_with_error('split', 'backbone')} in the representation before the projector. In "
        f"earlier layers no difference is above {number(largest, 3)}, and that of candidates in "
        f"layer 1 has another sign against shared than against external images",
        f"It grows from {start} in untrained encoders to {early} after 500 updates and {end} "
        f"after 2,500",
    ]


def _auc(name, kind, which="candidate"):
    return stored(f"memorization/{name}/memorization.json", "atypical", which, kind)


def outliers_of_convnets():
    """Outliers of the small convnets."""
    collage, inverted, colours, noise, every = (
        interval(_cut(_auc("split", kind), 0, 1), 2) for kind in _KINDS
    )
    other = [interval(_cut(_auc("split", kind, "independent"), 0, 1), 2) for kind in _KINDS]
    neither = [
        _auc("split", kind, which)["mean"] for which in ("shared", "external") for kind in _KINDS
    ]
    pool = [number(_auc("subsample", kind, "all")["auc"], 2) for kind in list(_KINDS)[:4]]
    points = {_auc("split", kind)["points"] for kind in list(_KINDS)[:4]}
    assert points == {9}
    return [
        f"the AUC of collages, whose views differ most, is {collage}. That of inverted images is "
        f"{inverted}, of exchanged colours {colours}, of images blended with noise {noise}",
        f"For all outliers together it is {every}",
        f"the order is reversed (collages {other[0]}, noise {other[3]})",
        f"For shared and external images all AUCs are between {number(min(neither), 2)} and "
        f"{number(max(neither), 2)}",
        f"gives similar AUCs ({', '.join(pool)} in this order)",
    ]


def single_images():
    """Agreement of encoder pairs of the small convnets."""
    late, early, first = (_pairs("split", layer) for layer in ("projector", "backbone", "layer1"))
    score = number(_above("split", "layer1")["mean"], 3)
    return (
        f"by two encoder pairs have a Kendall's tau of {late}, in the representation of {early}. In "
        f"layer 1 it is {first}, where candidates less shared images are at {score}"
    )


def others():
    """Other encoders beside the ranking of the small convnets."""
    rows = []
    for name, label in _OTHERS.items():
        (found,) = _study(name)["agreement"]
        assert (found["points"], found["top"]) == (300, 50)
        shared = number(100 * found["overlap"], 0)
        cells = [_with_error(name, "projector"), number(found["tau"], 2), f"{shared} %"]
        rows.append(_row(label, *cells, _pairs(name, "projector")))
    return rows


def among_others():
    """What the table of other encoders shows."""
    found = {name: _study(name)["agreement"][0] for name in _OTHERS}
    chance = number(100 * found["vicreg"]["chance"], 0)
    colours, collages = (
        [number(_auc(name, kind)["auc"], 2) for name in ("views_simclr", "views_strong", "split")]
        for kind in ("colours", "collage")
    )
    supervised = found["supervised"]
    views = [_above(name, "projector") for name in ("simclr_seeds", "views_simclr", "views_strong")]
    assert all(weak["mean"] > strong["mean"] for weak, strong in pairwise(views))
    assert {_study(name)["seeds"] for name in _OTHERS} == {2}
    (pixels,) = _study("closed_form")["agreement"]
    return [
        f"a random ranking has {chance} % of the top 50 in common",
        f"(AUC {colours[0]} and {colours[1]} for SimCLR's and strong views, "
        f"{colours[2]} for crops)",
        f"collages less ({collages[0]}, {collages[1]}; {collages[2]} for crops)",
        f"Barlow Twins agrees less than VICReg; its own pairs agree no better "
        f"({_pairs('barlow_twins', 'projector')})",
        f"({number(100 * supervised['overlap'], 0)} % is not resolved from chance, p = "
        f"{number(supervised['chance_p'], 2)})",
        f"The closed form of the pixels ({_study('closed_form')['dim']} modes) ranks the pool of "
        f"{pixels['points']} differently from the subsampling of SimCLR convnets: tau "
        f"{number(pixels['tau'], 2)} (p = {number(pixels['tau_p'], 1)}), "
        f"{number(100 * pixels['overlap'], 0)} % of the top {pixels['top']} (chance "
        f"{number(100 * pixels['chance'], 1)} %, p = {number(pixels['chance_p'], 2)})",
    ]


def kernel_of_digits():
    """Scores of a tangent kernel beside those of encoders, on digits."""
    (families,) = _study("digits_b")["agreement"]
    kernel = {each["run"]: each for each in _study("digits_kernel")["agreement"]}
    taus = [number(kernel[run]["tau"], 2) for run in ("a", "b")]
    least = number(min(each["tau_p"] for each in kernel.values()), 1)
    images = _study("digits_kernel")["points"]
    return (
        f"Two families of {_study('digits_a')['encoders']} encoders agree on the {images} images "
        f"(Kendall's tau {number(families['tau'], 2)}). The kernel of one trained network agrees "
        f"with neither (tau {taus[0]} and {taus[1]}, p {least} or more)"
    )


_REMOVED = {"cifar10": "CIFAR-10", "digits": "digits", "imagenette2-96": "Imagenette"}


def _removal(name):
    return stored(f"memorization/{name}/removal.json")


def _removed(name, labels):
    """Rows of accuracies without images, and what random images would have done."""
    results = {result["data"]: result for result in _removal(name)["results"]}
    results = {data: results[data] for data in _REMOVED if data in results}
    none = [f"{interval(result['none'], scale=100)} | " for result in results.values()]
    rows = [f"| nothing | {'| '.join(none)}|"]
    first = next(iter(results.values()))
    for curve in first["curves"]:
        for place, point in enumerate(curve["points"]):
            cells = []
            for result in results.values():
                (same,) = (each for each in result["curves"] if each["which"] == curve["which"])
                here = same["points"][place]
                cells.append(interval(here["accuracy"], scale=100))
                cells.append(
                    interval(here["from_random"], scale=100) if here["from_random"] else ""
                )
            label = f"{labels[curve['which']]} {number(100 * point['share'], 0)} %"
            rows.append(_row(label, *cells).replace("|  |", "| |"))
    return rows


def _differences(name):
    """Values by seed of every comparison with random images, by data, choice and share."""
    return {
        (result["data"], curve["which"], point["share"]): point["from_random"]
        for result in _removal(name)["results"]
        for curve in result["curves"]
        for point in curve["points"]
        if point["from_random"]
    }


def _point(name, data, which, share):
    (found,) = (
        point
        for result in _removal(name)["results"]
        for curve in result["curves"]
        for point in curve["points"]
        if (result["data"], curve["which"], point["share"]) == (data, which, share)
    )
    return found


def _holm(name):
    """Least p-value of all comparisons, times their number (its value after Holm)."""
    found = _differences(name)
    least = min(stats.ttest_1samp(each["values"], 0).pvalue for each in found.values())
    return min(1.0, len(found) * least)


_CHOICES = {"most": "most memorised", "least": "least memorised", "random": "random"}


def removal_of_resnet():
    """Removal from a ResNet-18."""
    return _removed("removal", _CHOICES)


def removal_of_convnets():
    """Removal from small convnets."""
    return _removed("removal_convnet", _CHOICES)


def claim_of_removal():
    """What the removals show together."""
    large, small = _differences("removal"), _differences("removal_convnet")
    cells = [
        interval(large[data, "most", share], scale=100)
        for share in (0.33, 0.05)
        for data in ("cifar10", "imagenette2-96")
    ]
    third = [interval(small[data, "most", 0.32], scale=100) for data in _REMOVED]
    outside = [each["low"] > 0 or each["high"] < 0 for each in small.values()]
    assert not any(each["low"] > 0 or each["high"] < 0 for each in large.values())
    random = [
        interval(_point("removal", data, "random", 0.33)["from_none"], scale=100)
        for data in ("cifar10", "imagenette2-96")
    ]
    outliers_too = interval(small["cifar10, outliers", "most", 0.32], scale=100)
    return [
        f"{cells[0]} points on CIFAR-10 and {cells[1]} on Imagenette at a third of the pool, "
        f"{cells[2]} and {cells[3]} at 5 %. None of the {len(large)} intervals excludes 0",
        f"without a random third the accuracy differs from that with nothing removed by {random[0]} "
        f"points on CIFAR-10 and {random[1]} on Imagenette",
        f"Without the most memorised third, less without random images: {third[0]} points on "
        f"CIFAR-10, {third[1]} on digits and {third[2]} on Imagenette; on planted outliers of "
        f"CIFAR-10, which the study tests too, {outliers_too}",
        f"{sum(outside)} of {len(small)} intervals exclude 0, one of them for the least memorised; "
        f"one or two are expected by chance, and after Holm's correction the least p-value is "
        f"{number(_holm('removal_convnet'), 2)}",
    ]


def _penalty(strength, measure, which="value"):
    rows = stored("memorization/penalty/penalty.json", "rows")
    (row,) = [row for row in rows if row["strength"] == strength]
    return row["measures"][measure][which]


def penalty():
    """Memorisation and accuracy by the strength of the penalty."""
    ratio = [interval(_penalty(strength, "ratio_above_external"), 3) for strength in (0, 1, 10)]
    probe, least = "linear: cifar10", _penalty(0, "linear: cifar10")
    changes = [interval(_penalty(strength, probe, "from_zero"), scale=100) for strength in (1, 10)]
    outside = [number(_penalty(strength, "alignment_external")["mean"], 2) for strength in (0, 10)]
    return [
        f"falls from {ratio[0]} to {ratio[1]} at strength 1 and {ratio[2]} at 10",
        f"also of images that no encoder has seen (from {outside[0]} to {outside[1]} at 10)",
        f"The accuracy of the linear probe, {interval(least, scale=100)} %, changes by "
        f"{changes[0]} and {changes[1]} points",
    ]


PAGES = (
    Page(
        "experiments/docs/memorization.md",
        held=(
            layers, where, methods, among_methods, outliers, among_outliers, atypicality,
            among_atypical, influence, among_predictors, units, sets, layers_of_convnets,
            outliers_of_convnets, single_images, others, among_others, kernel_of_digits,
        ),
        said={
            "definition": (
                "makes 5 % of the images",
                "60 % of noise",
                "for candidates. For independent images, which g memorises and f does not, it is "
                "then low, below 0.5",
                "9 outliers give an AUC of +- 0.10",
                "means with 90 % intervals over encoder pairs; layers",
                "mean and 90 % interval over images and encoder pairs together",
                "40 % of which are planted outliers: 100 of each kind, that is 10 % of the "
                "candidates each",
                "with 90 % intervals over images and encoder pairs, cut to 0 and 1 (0.5: chance)",
                "12 % of the images are planted outliers",
                "AUCs of a random ranking have a standard deviation of 0.10",
                "(90 %)",
                "(90 %, over encoder pairs)",
                "(90 %, over images)",
            )
        },
    ),
    Page(
        "experiments/docs/removal.md",
        held=(removal_of_resnet, removal_of_convnets, claim_of_removal, penalty),
        said={"definition": ("in % with 90 % intervals over ten seeds",)},
    ),
)  # fmt: skip
