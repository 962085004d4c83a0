"""Fine-tune a trained network by the Undoing Memorization Mechanism: ``sslsim umm``.

The mechanism (arXiv 2410.00772) is :mod:`sslsim.umm`; here it meets a run, and what it changed is
measured layer by layer on images that neither training nor fine-tuning has seen. The keys of
``umm.json`` are explained in ``experiments/docs/umm.md``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.studies.umm.options import UmmCommand
from experiments.studies.umm.start import start_from
from experiments.tables import number, table
from sslsim.core.files import plain, write_json
from sslsim.runs.folder import options_to_resume, run_in_place
from sslsim.runs.setup import chosen_device
from sslsim.umm import undo_memorization
from sslsim.umm.start import measure_network

_RESULTS = ("umm.json", "umm.png", "records.jsonl", "records.npz")
# What may differ when a run goes on: where things lie, and what is measured at the end.
_FREE = ("run", "root", "device", "test_images", "transfer", "transfer_limit")


def umm(options: UmmCommand) -> Path:
    """Fine-tune as the options say, or go on where an interrupted run stopped, and measure."""
    options_to_resume(options.out, "umm", options, results=_RESULTS, free=_FREE)
    device = chosen_device(options.device)
    start = start_from(options.run, options)
    with run_in_place(options.out, "umm", options, results=_RESULTS) as folder:
        start.learner.to(device)
        before = measure_network(start, start.learner, options.test_images)
        done = undo_memorization(
            start.learner,
            start.run.images,
            start.run.held_out,
            start.run.views,
            start.options,
            folder,
            device=device,
            progress=sys.stderr.isatty(),
        )
        convergence = None
        if done.convergence is not None:
            convergence = {**asdict(done.convergence), "converges": done.convergence.converges}
        result = {
            "run": options.run,
            "method": start.run.options.method,
            "encoder": start.run.options.encoder,
            "data": start.run.options.data,
            "views": start.run.views,
            "transfer": options.transfer,
            # config.json keeps those of the first call.
            "transfer_limit": options.transfer_limit,
            "test_images": min(options.test_images, len(start.run.held_out.images)),
            "checkpoint": start.step,
            "split": start.options.split,
            "early": start.options.early or start.options.split,
            "alignment": start.options.alignment,
            "options": asdict(start.options),
            "before": before,
            "after": measure_network(start, done.learner, options.test_images),
            "convergence": convergence,
        }
        write_json(folder / "umm.json", result)
    print(_report(plain(result)))
    return options.out


def _report(result: dict[str, Any]) -> str:
    before, after = result["before"], result["after"]
    names = {
        "linear": "linear probe",
        "knn": "neighbours",
        "transfer_linear": f"linear, {result['transfer']}",
        "instance_reduction": "DeltaR",
        "class_reduction": "by class",
        "early_distance": f"from {result['early']}",
    }
    held = [name for name in names if any(name in line for line in before["layers"].values())]
    rows = [
        [layer, *(_change(before["layers"][layer], after["layers"][layer], name) for name in held)]
        for layer in before["layers"]
    ]
    lines = [table(["layer", *(names[name] for name in held)], rows)]
    told = {
        "coding_rate_reduction": "DeltaR",
        "loss": "loss",
        "alignment": f"distance ({result['alignment']})",
    }
    changes = [f"{told[key]} {number(before[key])} -> {number(after[key])}" for key in told]
    lines.append("held out: " + ", ".join(changes))
    if (found := result["convergence"]) is not None and not found["converges"]:
        signs = {
            "inner_rises": "inner steps raise the inner loss",
            "gradient_grows": "the hypergradient grows",
            "outer_falls": "the outer objective falls",
        }
        which = "; ".join(text for key, text in signs.items() if found[key])
        lines.append(f"the iteration does not converge: {which} (smaller learning rates may help)")
    return "\n".join(lines)


def _change(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    if name not in before or name not in after:
        return "-"
    if name.endswith(("linear", "knn")):
        return f"{100 * before[name]:.1f} -> {100 * after[name]:.1f} %"
    return f"{number(before[name])} -> {number(after[name])}"
