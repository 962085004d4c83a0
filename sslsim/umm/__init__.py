"""The Undoing Memorization Mechanism: bi-level fine-tuning of a trained encoder (2410.00772)."""

from sslsim.umm.finetune import Undone, undo_memorization
from sslsim.umm.options import UmmOptions

__all__ = ["UmmOptions", "Undone", "undo_memorization"]
