"""Training: one loop for all methods, its options, batches and records; ensembles; full batches."""

from typing import TYPE_CHECKING

from sslsim.core.lazy import lazily
from sslsim.training.options import TrainingOptions, flow_time

if TYPE_CHECKING:
    from sslsim.training.loop import train
    from sslsim.training.records import Records, record_steps

__all__ = ["Records", "TrainingOptions", "flow_time", "record_steps", "train"]

__getattr__ = lazily(
    __name__,
    {"Records": "records", "record_steps": "records", "train": "loop"},
)
