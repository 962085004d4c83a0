"""A recorder as a callback of PyTorch Lightning, which ``pip install 'sslsim[lightning]'`` adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sslsim.runs.recording.recorder import Recorder

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        Callback = object  # refused when one is made


class RecorderCallback(Callback):
    """Record a training of a ``Trainer``, with the learning rate and momentum of its optimiser.

    Parameters
    ----------
    folder : path
        Run folder.
    x, x_prime : Tensor, shape (n, ...)
        Two views of held-out samples.
    encoder : str
        Name of the part of the LightningModule that is measured; empty for all of it.
    **options
        As for :class:`sslsim.Recorder`, for instance ``method``, ``records``, ``seed``.

    Raises
    ------
    ValueError
        If PyTorch Lightning is not installed; when training starts, as :class:`sslsim.Recorder`.

    Notes
    -----
    The process of rank zero records. Where training stops with an error, the folder is let go and
    can be continued.
    """

    def __init__(
        self,
        folder: str | Path,
        x: torch.Tensor,
        x_prime: torch.Tensor,
        *,
        encoder: str = "",
        **options: Any,
    ) -> None:
        if Callback is object:
            raise ValueError(
                "PyTorch Lightning is not installed; expected it, by: pip install "
                "'sslsim[lightning]'"
            )
        self.folder, self.pairs, self.encoder, self.options = folder, (x, x_prime), encoder, options
        self.recorder: Recorder | None = None

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Open the folder and take the first snapshot."""
        if not trainer.is_global_zero:
            return
        options = {"lr": trainer.optimizers[0]} | self.options
        encoder = pl_module.get_submodule(self.encoder)
        self.recorder = Recorder(self.folder, encoder, self.pairs[0], self.pairs[1], **options)

    def on_train_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the update."""
        if self.recorder is not None:
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            self.recorder.update(trainer.global_step, loss)

    def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Take the last snapshot and write the result."""
        if self.recorder is not None:
            self.recorder.finish()

    def on_exception(self, trainer: Any, pl_module: nn.Module, exception: BaseException) -> None:
        """Let the folder go."""
        if self.recorder is not None:
            self.recorder.close()
