"""Fine-tune a trained network by the Undoing Memorization Mechanism: ``sslsim umm``.

The mechanism (arXiv 2410.00772) is :mod:`sslsim.umm`; here it meets a run, and what it changed is
measured layer by layer on images that neither training nor fine-tuning has seen. The keys of
``umm.json`` are explained in ``experiments/docs/umm.md``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from experiments.studies.umm.options import UmmCommand
from experiments.studies.umm.start import start_from
from sslsim.core.files import write_json
from sslsim.runs.folder import options_to_resume, run_in_place
from sslsim.runs.options import network_name
from sslsim.runs.setup import chosen_device
from sslsim.umm import undo_memorization
from sslsim.umm.options import LATE_LAYERS
from sslsim.umm.start import measure_network

_RESULTS = ("umm.json", "umm.png", "records.jsonl", "records.npz")
# What may differ when a run goes on: where things lie, and what is measured at the end.
_FREE = ("run", "weights", "root", "device", "test_images", "transfer", "transfer_limit")


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
            "run": start.run.folder,
            "method": start.run.options.method,
            "encoder": network_name(start.run.options),
            "data": start.run.options.data,
            "views": start.run.views,
            "transfer": options.transfer,
            # config.json keeps those of the first call.
            "transfer_limit": options.transfer_limit,
            "test_images": min(options.test_images, len(start.run.held_out.images)),
            "checkpoint": start.step,
            "split": start.options.split,
            "early": start.options.early or start.options.split,
            "layer": LATE_LAYERS[start.options.features],
            "alignment": start.options.alignment,
            "options": asdict(start.options),
            "before": before,
            "after": measure_network(start, done.learner, options.test_images),
            "convergence": convergence,
        }
        write_json(folder / "umm.json", result)
    return options.out
