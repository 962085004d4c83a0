"""Figure 3: the same network trained by several methods climbs in steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paper_figs import captions
from paper_figs.runs.training import draw_records
from paper_figs.style import WIDTH, entitle, letter
from sslsim.core.files import read_json

NAME = "methods"
COMMAND = (
    "sslsim train --encoder resnet18 --widths 16 --method METHOD --out DIR/methods/METHOD"
    " (DIR as in --results DIR)"
)
_ORDER = ("barlow_twins", "simclr", "vicreg")  # others after them


def figure(results: Path) -> tuple[Figure, str]:
    """Draw loss and eigenvalues of every run under ``methods``, a column each."""
    folders = [path.parent for path in (Path(results) / NAME).glob("*/training.json")]
    if not folders:
        raise ValueError(f"{Path(results) / NAME} holds no run; one is made by: {COMMAND}")
    runs = sorted(((read_json(folder / "training.json"), folder) for folder in folders), key=_place)
    drawn = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    panels = drawn.subplots(2, len(runs), sharex="col", squeeze=False)
    for column, (result, folder) in enumerate(runs):
        above, below = panels[:, column]
        draw_records(above, below, folder, result, result["step_times"])
        entitle(above, letter(column), captions.name_of(result["method"]))
        above.get_legend().remove()
        below.set_xlabel("")
        if column:
            above.set_ylabel("")
            same = runs[column - 1][0]["spectrum"] == result["spectrum"]
            below.set_ylabel("" if same else "eigenvalue of covariance")
    drawn.supxlabel("time (learning rate $\\times$ update / (1 $-$ momentum))", fontsize=9)
    configs = [read_json(folder / "config.json") for _, folder in runs]
    return drawn, _caption([result for result, _ in runs], configs)


def _place(run: tuple[dict[str, Any], Path]) -> tuple[int, str, str]:
    method = run[0]["method"]
    return (_ORDER.index(method) if method in _ORDER else len(_ORDER), method, str(run[1]))


def _caption(results: list[dict[str, Any]], configs: list[dict[str, Any]]) -> str:
    networks = captions.listed(captions.name_of(result["encoder"]) for result in results)
    shown = {
        "cross_spectrum": "of the cross-correlation C",
        "covariance_spectrum": "of the covariance",
    }
    runs = " ".join(
        f"{letter(place)}: {captions.training(config, result)}; {result['detected_steps']} "
        f"step{'s' if result['detected_steps'] != 1 else ''} detected, in the eigenvalues "
        f"{shown[result['spectrum']]}."
        for place, (result, config) in enumerate(zip(results, configs, strict=True))
    )
    return (
        f"{networks} trained by {len(results)} methods from small initialisation, "
        f"{captions.device(configs)}. Above: loss of held-out pairs. Below: eigenvalues of their "
        f"embeddings; vertical lines, the steps detected. {runs}"
    )
