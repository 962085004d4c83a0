"""The Undoing Memorization Mechanism: bi-level fine-tuning of a trained encoder (2410.00772)."""

from typing import TYPE_CHECKING, Any

from sslsim.umm.options import UmmOptions

if TYPE_CHECKING:
    from sslsim.umm.finetune import Undone, undo_memorization

__all__ = ["UmmOptions", "Undone", "undo_memorization"]


def __getattr__(name: str) -> Any:
    # With torch, which the options can do without.
    if name in __all__:
        from sslsim.umm import finetune

        return getattr(finetune, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
