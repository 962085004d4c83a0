"""Numbers of the page of memorization-modes, made again from stored results."""

from experiments.tables import inside, interval_of
from paper_figs.store import RESULTS
from sslsim.core.files import read_json

STUDIES = ("fixed", "fresh", "resnet18")
_STATE, _CHANGE = ("states", "before", "numbers"), ("changes", "full", "from_control", "numbers")
_LESS = "linear_unseen_removed_"
_STATES, _FORMS = ("before", "control", "full"), ("ratio", "relative")
_PROBES = ("linear_own", "linear_unseen", "knn_unseen", "knn_own")
ROWS = {  # label: section, key, scale, digits
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
    """The group of a stored study."""
    path = RESULTS / "memorization_modes" / study / "memorization_modes.json"
    return read_json(path)["groups"][0]


def claims():
    """Means with intervals that the answer of the page gives, as it writes them."""
    fixed, _, resnet = groups = [group_of(study) for study in STUDIES]
    shown = [_claim(group, *_CHANGE, probe) for probe in _PROBES for group in groups]
    shown += [
        _claim(group, "states", state, "numbers", f"{_LESS}more_less_less_neighbours")
        for state in _STATES
        for group in groups
    ]
    shown += [_claim(group, *_STATE, f"{_LESS}most_less_random_0.5") for group in (fixed, resnet)]
    shown += [_claim(resnet, *_CHANGE, f"new_{form}", scale=1, places=2) for form in _FORMS]
    relative = inside(resnet, *_CHANGE[:-1], "bands", "new_relative")
    for band in (5, 6, 7):
        ends = {end: values[band] for end, values in relative.items()}
        shown.append(_claim(ends, scale=1, places=3))
    return shown


def _claim(value, *keys, scale=100, places=1):
    mean, low, high = (
        f"{scale * inside(value, *keys)[end]:.{places}f}" for end in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]".replace("-0.0]", "0.0]").replace("[-0.0,", "[0.0,")


def table():
    """Rows of the table, as the page has them."""
    groups = [group_of(study) for study in STUDIES]
    rows = []
    for label, (section, key, scale, digits) in ROWS.items():
        cells = []
        for group in groups:
            name = key.format(views="seen" if group["fixed_views"] else "new")
            cells.append(interval_of(inside(group, *section), name, scale=scale, digits=digits))
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return rows
