"""Pictures as part of a page."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

from experiments.report.html import Markup, tag
from sslsim.core.errors import reason

_SHOWN = {
    "prediction.png": "Predicted loss and eigenvalue curves, with the steps and their intervals",
    "comparison.png": "Loss and eigenvalues, measured and predicted, with the predicted steps",
    "wide.png": "Error of the kernel's prediction against width, and staircases",
    "run.png": "Held-out loss, eigenvalues of the embeddings' correlation, and detected steps",
    "embeddings.gif": "Embeddings of the probe set along three principal directions over training",
    "ntk.png": "What the tangent kernel predicts, beside the network",
    "ntk_training.png": "The tangent kernel and its predictions over training",
    "ntk_across.png": "Alignment of embeddings and predictions within and across methods",
    "forecast.png": "Forecasts of steps against what happened",
    "overfitting.png": "Accuracy and coding rate reduction by layer and checkpoint",
    "memorization.png": "Scores of memorisation, and the images of the highest and lowest",
    "removal.png": "Accuracy by the share of images removed from training",
    "penalty.png": "Scores of memorisation and accuracy by the strength of the penalty",
    "umm.png": "Fine-tuning: records, and every layer before and after",
    "umm_sweep.png": "Changes beyond the control's, with intervals over seeds",
}


def picture(path: Path, run: str, limit: float) -> Markup:
    """A picture of a run with its caption, held in the page itself."""
    shown = _SHOWN.get(path.name, "Picture")
    try:
        size = path.stat().st_size
        if size > limit * 1e6:
            return tag(
                "p",
                f"{path.name} is left out: {size / 1e6:.1f} MB, where --picture-limit is "
                f"{limit:g} MB.",
                class_="note",
            )
        content = path.read_bytes()
    except OSError as error:
        return tag("p", f"{path.name} cannot be read: {reason(error)}.", class_="note")
    found = _kind(content)
    if found is None:
        return tag("p", f"{path.name} is damaged: no PNG or GIF picture.", class_="note")
    kind, width, height = found
    return tag(
        "figure",
        tag(
            "img",
            src=f"data:image/{kind};base64,{base64.b64encode(content).decode()}",
            alt=f"{shown}; of {run}",
            width=width,
            height=height,
        ),
        tag("figcaption", shown, " (", tag("code", path.name), ")"),
    )


def _kind(content: bytes) -> tuple[str, int, int] | None:
    """Kind, width and height by the first bytes: a file's name proves nothing."""
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return "png", width, height
    if content[:6] in (b"GIF87a", b"GIF89a") and len(content) >= 10:
        width, height = struct.unpack("<HH", content[6:10])
        return "gif", width, height
    return None
