"""The Undoing Memorization Mechanism: bi-level fine-tuning of a trained encoder (2410.00772)."""

from typing import TYPE_CHECKING

from sslsim.core.lazy import lazily
from sslsim.umm.options import UmmOptions

if TYPE_CHECKING:
    from sslsim.umm.finetune import Undone, undo_memorization

__all__ = ["UmmOptions", "Undone", "undo_memorization"]

__getattr__ = lazily(
    __name__,
    {"Undone": "finetune", "undo_memorization": "finetune"},
)
