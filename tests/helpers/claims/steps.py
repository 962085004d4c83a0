"""Step times of linear models, wide networks and convnets."""

import numpy as np

from claims.page import Page
from claims.stored import number, stored
from paper_figs.store import RESULTS, grouped

_DOCS = "experiments/docs"
_FRESH = "sslsim compare --fresh-views --limit 500 --dim 6"
_LANDMARKS = "sslsim predict --kernel relu:2 --pairs 700 --dim 5 --memory 32"
_TRAININGS = "sslsim compare --pairs 1000 --dim 5 --batch-size 32 --repeats 1 --seed 0"
_RATES = "--pairs 1000 --dim 4 --batch-size 32 --repeats 2"
_TEN_MODES = "sslsim compare"
_MUON = "--pairs 300 --optimizer muon --momentum 0.9"
_FRESH_BATCHES = "sslsim compare --fresh-views --limit 500"


def linear_by_data():
    """Rows of the table of three data sets: errors of two seeds."""
    rows = []
    for data, name in (("digits", "digits"), ("cifar10", "CIFAR-10"), ("imagenette", "Imagenette")):
        for scale in ("1e-2", "1e-3", "1e-6"):
            runs = [stored(f"linear/{data}_{scale}_{seed}/comparison.json") for seed in (0, 1)]
            errors, naive = (
                ", ".join(f"{number(100 * run[key], digits)} %" for run in runs)
                for key, digits in (("mean_relative_error", 3), ("naive_mean_relative_error", 1))
            )
            rows.append(f"| {name} | {scale} | {errors} | {naive} |")
    return rows


def _small(value, unit=""):
    return f"{value:.2g}{unit}" if value >= 0.001 else f"< 0.001{unit}"


def _options(comparison):
    """What differs from plain gradient descent, as it is typed."""
    given = [f"--dim {comparison['dim']}"]
    if comparison["batch_size"] is not None:
        given.append(f"--batch-size {comparison['batch_size']}")
    for name, plain in (("momentum", 0), ("weight_decay", 0), ("off_diagonal", 1)):
        if comparison[name] != plain:
            given.append(f"--{name.replace('_', '-')} {comparison[name]:g}")
    if comparison["dim"] == 3 and comparison["batch_size"] is not None:
        given.append(f"--lr {comparison['learning_rate']:g}")
    return " ".join(given)


def other_trainings():
    """Rows of digits in the table of other ways to train; means over seeds."""
    names = sorted(path.name for path in (RESULTS / "trainings").iterdir())
    every = [stored(f"trainings/{name}/comparison.json") for name in names]
    rows = []
    for options, group in grouped(every, _options).items():
        error, plain, ceiling = (
            np.mean([one[key] for one in group])
            for key in ("mean_relative_error", "plain_mean_relative_error", "ceiling_error")
        )
        cells = ["digits", f"`{options}`", str(len(group)), _small(100 * error, " %")]
        cells += [_small(100 * plain, " %"), _small(ceiling)]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


PREDICT = Page(
    f"{_DOCS}/predict.md",
    said={
        "definition": (
            "a mode starts at lambda above 0.1",
            "floats in [0, 1]",
            "Pixels are scaled to [0, 1]",
            "above 2.33 standard errors",
            "shares of nominal 90 % intervals",
            "the 95 % over the 5 % quantile",
            "Coverage is known to 2 %",
            "a mode rises from 10 % to 90 % in the time 0.63/sqrt(gamma)",
        ),
        _FRESH: (
            "a mean error of 6.6 % from all pairs of 8 views, and 22.7 % from one pair of each "
            "image",
        ),
        _LANDMARKS: (
            "| 16 | 138 | 34 % | 1.5, 8.2, 17.5, 16.8, 14.3 % | 1.1, 10.5, 14.1, 16.7, 19.7 % | "
            "1.2, 12.5, 17.5, 21.3, 25.7 % |",
            "| 32 | 260 | 26 % | 0.8, 6.4, 7.6, 10.2, 7.3 % | 0.4, 4.8, 8.0, 9.2, 13.5 % | 0.5, "
            "5.3, 9.3, 10.6, 16.3 % |",
            "| 1024 | all 1400 | 0 | - | - | - |",
        ),
    },
)
COMPARE = Page(
    f"{_DOCS}/compare.md",
    held=(linear_by_data, other_trainings),
    said={
        _TRAININGS: (
            "| CIFAR-10 | `--dim 5 --batch-size 128` | 2 | 0.5 % | 1.4 % | .04 |",
            "| CIFAR-10 | `--dim 5 --batch-size 32` | 3 | 0.6 % | 6.0 % | .07 |",
            "| CIFAR-10 | `--dim 4 --batch-size 8` | 3 | 2.1 % | 10.6 % | .05 |",
            "| CIFAR-10 | `--dim 5 --momentum 0.9` | 3 | < 0.001 % | 29 % | - |",
            "| CIFAR-10 | `--dim 4 --weight-decay 0.02` | 3 | 0.001 % | 11 % | - |",
            "| CIFAR-10 | `--dim 3 --off-diagonal 0.2` | 3 | 0.001 % | 41 % | - |",
            "| CIFAR-10 | `--dim 3 --off-diagonal 0.02` | 3 | 0.006 % | 64 % | - |",
        ),
        _RATES: (
            "| `--lr` | 0.0212 | 0.0423 (default) | 0.169 | 0.339 |",
            "| step times | 1.1 % | 1.4 % | 4.3 % | 10.4 % |",
            "| largest error of a ceiling | .04 | .06 | .13 | .39 |",
        ),
        _TEN_MODES: (
            "| none | 0.002 % | | | 1,198 |",
            "| `--optimizer muon` | 0.2 % | 0.3 % | 1.8 % | 236 |",
            "| `--optimizer muon --momentum 0.9` | 0.04 % | 0.1 % | 0.6 % | 583 |",
            "| `--precondition-embedding covariance --precondition-inputs covariance` | < 0.001 "
            "% | 4.8 % | 9.9 % | 193 |",
        ),
        _MUON: (
            "the closed form is 13 % early for the last mode, of which W(0) has little, and the "
            "iterations are right to 0.08 %",
        ),
        _FRESH_BATCHES: (
            "| `--dim 6 --batch-size 500 --lr 0.2152 --repeats 1` | 2.0 % | 2.8 % | 20 % | .16 |",
            "| `--dim 4 --batch-size 32 --repeats 1` | 4.2 % | 6.1 % | 11 % | .10 |",
        ),
    },
)
PAGES = (PREDICT, COMPARE)
