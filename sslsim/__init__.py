"""What networks do under self-supervised learning: training, kernels, coding rate, memorisation.

What most users need is here by name; PyTorch is imported with the first of them.

Examples
--------
>>> import sslsim
>>> images = sslsim.data.load_images("digits", limit=8).images
>>> encoder = sslsim.encoders.build_encoder("linear", (1, 8, 8), 2, seed=0)
>>> tuple(sslsim.empirical_ntk(encoder, images.float() / 255).shape)
(8, 8)
"""

from importlib import metadata
from typing import TYPE_CHECKING, Any

from sslsim.core.lazy import lazily

if TYPE_CHECKING:
    from sslsim import (
        coding_rate,
        data,
        encoders,
        measures,
        memorization,
        ntk,
        objectives,
        training,
        umm,
    )
    from sslsim.measures.steps import detect_steps
    from sslsim.measures.trajectory import EmbeddingSpectra, embedding_spectra
    from sslsim.memorization import score_encoders, ssl_mem
    from sslsim.ntk import empirical_ntk
    from sslsim.runs.recording.lightning_callback import RecorderCallback
    from sslsim.runs.recording.recorder import Recorder
    from sslsim.runs.recording.table import runs_table
    from sslsim.runs.trained_run import TrainedRun
    from sslsim.training.loop import train
    from sslsim.training.options import TrainingOptions
    from sslsim.umm.finetune import undo_memorization

__all__ = [
    "EmbeddingSpectra",
    "Recorder",
    "RecorderCallback",
    "TrainedRun",
    "TrainingOptions",
    "__version__",
    "coding_rate",
    "data",
    "detect_steps",
    "embedding_spectra",
    "empirical_ntk",
    "encoders",
    "measures",
    "memorization",
    "ntk",
    "objectives",
    "runs_table",
    "score_encoders",
    "ssl_mem",
    "train",
    "training",
    "umm",
    "undo_memorization",
]

_attribute = lazily(
    __name__,
    {
        "EmbeddingSpectra": "measures.trajectory",
        "RecorderCallback": "runs.recording.lightning_callback",
        "Recorder": "runs.recording.recorder",
        "TrainedRun": "runs.trained_run",
        "TrainingOptions": "training.options",
        "coding_rate": "",
        "data": "",
        "detect_steps": "measures.steps",
        "embedding_spectra": "measures.trajectory",
        "empirical_ntk": "ntk",
        "encoders": "",
        "measures": "",
        "memorization": "",
        "ntk": "",
        "objectives": "",
        "runs_table": "runs.recording.table",
        "score_encoders": "memorization",
        "ssl_mem": "memorization",
        "train": "training.loop",
        "training": "",
        "umm": "",
        "undo_memorization": "umm.finetune",
    },
)


def __getattr__(name: str) -> Any:
    return metadata.version("sslsim") if name == "__version__" else _attribute(name)


def __dir__() -> list[str]:
    return __all__
