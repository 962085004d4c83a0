"""Run folders: how they are opened, what is stored in them, and the trained networks they hold."""

from typing import TYPE_CHECKING

from sslsim.core.lazy import lazily

if TYPE_CHECKING:
    from sslsim.runs.trained_run import TrainedRun

__all__ = ["TrainedRun"]

__getattr__ = lazily(__name__, {"TrainedRun": "trained_run"})
