"""Statements of the papers and their results."""

from claims.front import (
    acceleration,
    candidates,
    fine_tuning,
    kernels,
    removal,
    step_times,
    steps_of_resnets,
)
from claims.networks import widest_with_intervals
from claims.page import Page
from claims.stored import interval, number, stored

RATIO_LAYERS = ("layer1", "layer2", "layer3", "backbone", "projector")
RANKED = {"vicreg": "VICReg", "byol": "BYOL", "supervised": "supervised"}


def _cut(mean, low, high):
    """A correlation with its interval, cut to its range."""
    return interval({"mean": mean, "low": max(low, -1.0), "high": min(high, 1.0)}, digits=2)


def wide():
    """Wide networks."""
    return f"step times at width 4096 are off, {widest_with_intervals()}"


def alike():
    """Embeddings of ResNet-50s, by method, seed and training."""
    found = stored("kernels_across/ntk_across.json")
    methods, table = found["methods"], found["alignment"]
    trained = [at for at, method in enumerate(methods) if method != "untrained"]
    bare = methods.index("untrained")
    seeds = [table[a][a] for a in trained]
    others = [table[a][b] for a in trained for b in trained if a < b]
    untrained = [table[a][bare] for a in trained]
    return (
        f"ResNet-50s: embeddings with other seeds {_from_to(seeds)}, with other methods "
        f"{_from_to(others)}, with untrained networks {_from_to(untrained)}"
    )


def _from_to(values):
    return f"{min(values):.2f} to {max(values):.2f}"


def _umm(study, measure, key="from_control", setting="full"):
    group = {"group": "barlow_twins" if study == "barlow_twins" else "simclr", "setting": setting}
    return stored(f"umm/{study}/table.json", "rows", group, "measures", measure, key)


def undoing():
    """What UMM repairs."""
    first = stored(
        "umm_sweep/table.json",
        "rows",
        {"group": "simclr, fixed_views True", "setting": "full"},
        "measures",
        "linear_projector",
        "from_control",
    )
    untouched = _umm("untouched", "linear_projector")
    twins = _umm("barlow_twins", "linear_projector")
    transfer, before = (
        _umm("untouched", "transfer_linear_projector", key) for key in ("from_control", "change")
    )
    return [
        f"regains {interval(first, scale=100)} points (five seeds) and "
        f"{interval(untouched, scale=100)} (five others)",
        f"Barlow Twins {interval(twins, scale=100)}; on Imagenette {interval(transfer, scale=100)} beyond the "
        f"control, but {interval(before, scale=100)} from before fine-tuning",
    ]


def pressures():
    """The probe of the representation where little is to undo, by setting and method."""
    cells = []
    for setting in ("no_coding_rate", "spread", "full"):
        rows = [
            stored("umm/little/table.json", "rows", {"group": group, "setting": setting})
            for group in ("simclr", "barlow_twins")
        ]
        cells.append(
            " and ".join(
                interval(row["measures"]["linear_backbone"]["from_control"], scale=100)
                for row in rows
            )
        )
    return (
        f"SimCLR and Barlow Twins, probe of the representation: without the coding rate {cells[0]} "
        f"points, raising Delta R alone {cells[1]}, the full mechanism {cells[2]}"
    )


def aligning():
    """What the alignment adds on untouched seeds."""
    probe, neighbours = (
        interval(_umm("untouched", name, "from_no_alignment"), scale=100)
        for name in ("linear_projector", "knn_projector")
    )
    return f"nothing to the linear probe ({probe}), {neighbours} to neighbours on CIFAR-10"


def distortions():
    """Probe and neighbours by eps."""
    rows = {
        eps: [
            number(100 * _umm("search", name, setting=setting)["mean"])
            for name in ("linear_projector", "knn_projector")
        ]
        for eps, setting in (("0.1", "eps=0.1"), ("0.32", "full"), ("1", "eps=1.0"))
    }
    probes, neighbours = zip(*rows.values(), strict=True)
    return f"probe {', '.join(probes)} points at eps 0.1, 0.32 and 1, neighbours {', '.join(neighbours)}"


def sets():
    """Candidates above shared images, two networks."""
    big, small = (
        (candidates(study, "projector", 2), candidates(study, "backbone", digits))
        for study, digits in (("resnet18", 2), ("convnet", 3))
    )
    return (
        f"ResNet-18 of width 16: by {big[0]} in the embedding, {big[1]} in the representation; a small "
        f"convnet: {small[0]} and {small[1]}"
    )


def by_layer():
    """Candidates above shared images in ratio form, layer by layer."""
    found = stored("memorization/resnet18/memorization.json")
    shares = []
    for layer in RATIO_LAYERS:
        entry = found["forms"]["ratio"]["sets"][found["layers"].index(layer)]
        (shared,) = [
            each
            for each in entry["comparisons"]
            if (each["above"], each["below"]) == ("candidate", "shared")
        ]
        shares.append(f"{shared['difference']:.3f}")
    late = f"representation {shares[3]}, embedding {shares[4]}"
    return f"ratio form: layers 1 to 3 {', '.join(shares[:3])}, {late}"


def _atypicality(study, part):
    result = stored(f"memorization/{study}/memorization.json")
    return result["atypicality"]["forms"]["raw"][result["layers"].index("backbone")][part]


def atypical():
    """Scores and natural atypicality, as it is and with the loss of g held fixed."""
    rows = [_atypicality("resnet18", "all"), _atypicality("outliers", "natural")]
    plain, given = ([interval(row[key], 2) for row in rows] for key in ("spearman", "given_loss"))
    return (
        f"Spearman {plain[0]} and {plain[1]}, two studies), but not when the loss of "
        f"encoders without the image is held fixed: {given[0]} and {given[1]}"
    )


def outliers():
    """Planted outliers among the candidates."""
    found = stored("memorization/outliers/memorization.json")
    place = found["layers"].index("backbone")
    (raw, ratio) = (
        found["forms"][form]["atypical"][place]["candidate"] for form in ("raw", "ratio")
    )
    return (
        f"AUC {interval(raw['any'], 2)} for all, collages {raw['collage']['mean']:.2f} raw and "
        f"{ratio['collage']['mean']:.2f} in ratio form"
    )


def ranked_alike():
    """Rankings by other methods, corrected for noise."""
    cells = []
    for method, name in RANKED.items():
        (found,) = stored(f"memorization/{method}_resnet18/memorization.json", "agreement")
        ends = [found[f"corrected_{end}"] for end in ("low", "high")]
        cells.append(f"{_cut(found['corrected'], *ends)} ({name})")
    return f"correlate with those of SimCLR by {', '.join(cells[:2])} and {cells[2]}"


def penalised():
    """What a penalty does to memorisation and to accuracy."""
    rows = stored("memorization/penalty/penalty.json", "rows")
    none, most = rows[0]["measures"], rows[-1]["measures"]
    ratios = [each["ratio_above_external"]["value"]["mean"] for each in (none, most)]
    accuracy = interval(most["linear: cifar10"]["from_zero"], scale=100)
    return (
        f"memorisation of the embedding falls from {ratios[0]:.3f} to {ratios[1]:.3f} in ratio form, "
        f"accuracy changes by {accuracy} points"
    )


def views():
    """Memorisation of a convnet's embedding, by strength of the views."""
    shares = [
        stored(f"memorization/{study}/memorization.json", "sets", 0, "comparisons", 0, "difference")
        for study in ("simclr_seeds", "views_simclr", "views_strong")
    ]
    return f"(crops {shares[0]:.3f}, SimCLR's {shares[1]:.3f}, strong {shares[2]:.3f})"


def without_retraining():
    """How well influence and the alignment loss rank images."""
    (found,) = (
        each
        for each in stored("memorization/influence/memorization.json", "predictors")
        if each["layer"] == "backbone"
    )
    raw = found["forms"]["raw"]
    given = interval(raw["influence"]["given_loss"], 2)
    return (
        f"Kendall's tau {raw['influence']['tau']:.2f}, the plain alignment loss {raw['loss']['tau']:.2f}; "
        f"given the loss, influence adds {given}"
    )


def by_mode():
    """Memorisation of views and of images where UMM repairs, and what removing modes changes."""
    groups = [
        stored(f"memorization_modes/{name}/memorization_modes.json", "groups", 0)
        for name in ("fixed", "resnet18")
    ]
    numbers = [group["states"]["before"]["numbers"] for group in groups]
    removed = [
        interval(each["linear_unseen_removed_more_less_less_neighbours"], scale=100)
        for each in numbers
    ]
    seen, new = (interval(numbers[0][f"{views}_ratio"], 3) for views in ("seen", "new"))
    return (
        f"pairs of views are memorised ({seen}) and images are not ({new}); of two neighbouring modes, "
        f"removing the one that memorises more changes a linear probe by {removed[0]} points "
        f"(ResNet-18: {removed[1]})"
    )


PAPERS = Page(
    "experiments/docs/papers.md",
    held=(
        step_times, wide, kernels, alike, steps_of_resnets, acceleration, fine_tuning, undoing,
        pressures, aligning, distortions, sets, by_layer, atypical, outliers, ranked_alike, removal,
        penalised, views, without_retraining, by_mode,
    ),
    said={
        "definition": ["remove 5 % most memorised or random images", "at eps 0.03 it follows the fall"]
    },
)  # fmt: skip
PAGES = (PAPERS,)
