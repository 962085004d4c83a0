"""Recording a training that happens in a loop of the user's.

The folder that a recorder writes is a run folder: ``sslsim report``, ``compare --run``, ``ntk``,
``forecast`` and ``overfitting`` read it (:class:`sslsim.runs.trained_run.RecordedRun`).
"""

from __future__ import annotations

import math
import operator
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from sslsim.core.checkpoints import save_checkpoint
from sslsim.core.files import plain, read_arrays, read_json, write_arrays, write_json
from sslsim.core.lazy import own_callable
from sslsim.core.locks import only_writer
from sslsim.core.names import VIEWS
from sslsim.encoders.build import Encoder
from sslsim.encoders.own.factory import load_module
from sslsim.measures.snapshots import HeldOutPairs, batch_statistics, snapshot
from sslsim.measures.trajectory import SPECTRA
from sslsim.methods.build import METHODS, pair_objective
from sslsim.runs.folder import check_folder, check_same, described_run
from sslsim.runs.options import RecordOptions
from sslsim.runs.setup import recorded_steps, spectrum_of_method
from sslsim.runs.stored import stored_options
from sslsim.runs.trained_run import OWN_PAIRS, as_encoder
from sslsim.training.options import check_optimizer
from sslsim.training.records import Records, closer_record, open_ended_steps, record_steps

Loss = Callable[[torch.Tensor, torch.Tensor], Any]

_RESULTS = ("training.json", "records.npz", "pairs.npz")
_STALE = ("training.json", "comparison.json", "comparison.png")  # of fewer updates
_SPECTRA = tuple(f"{name}_spectrum" for name in SPECTRA)
_FREE = ("steps", "records", "adaptive", "checkpoints", "factory", "loss", "data", "views", "out")
_EXTRA = 3  # one in so many snapshots is kept for where eigenvalues move fast


class Recorder:
    """Record spectra, ranks and steps of a network that is trained in a loop of one's own.

    The first snapshot is taken at once, of the network as it is. :meth:`update` is called after
    every update of the weights and takes a snapshot where one is due; :meth:`finish` takes the last
    one and writes the result. As a context manager a recorder finishes by itself.

    Parameters
    ----------
    folder : path
        Run folder, one writer at a time. A folder that holds records is continued: the next
        :meth:`update` says after how many updates, and records of later ones are dropped.
    encoder : nn.Module
        Network that is trained, (n, ...) -> embedding (n, d). It is measured in evaluation mode,
        but BatchNorm uses the statistics of the pairs; it is left as it was.
    x, x_prime : Tensor or array_like, shape (n, ...)
        Two views of held-out samples, as the network is fed with them. A few hundred are enough.
    lr : float or torch.optim.Optimizer
        Learning rate, or the optimiser: its current rate (of the first group) and momentum are then
        read at every update, so that schedules count.
    momentum : float
        Momentum of plain SGD; with an optimiser none is given.
    method : str or callable
        Loss: a method of ``sslsim train`` (``barlow_twins``, ``simclr``, ...), a function or module
        of two embeddings, or ``"package.module:function"``, which ``sslsim forecast`` can import.
    barlow_form, similarity, temperature
        Options of a method, as for ``sslsim train``.
    spectrum : {"cross", "covariance"}, optional
        Spectrum in which steps are detected. Default: by the method; ``cross`` for a callable.
    steps : int, optional
        Planned number of updates. With it, half of the snapshots are evenly spaced and half
        logarithmically; without it, all are spaced logarithmically.
    records : int
        Largest number of snapshots, at least 4.
    adaptive : bool
        Keep a third of them for times at which an eigenvalue moves by more than 30 %.
    checkpoints : int
        Number of snapshots at which the weights are kept, for ``ntk``, ``forecast`` and
        ``overfitting``.
    factory : str, optional
        ``"package.module:function"`` without arguments that builds the network again.
    batch : int, optional
        Number of pairs in a batch of the training. Default: as many as are measured.
    data : str, optional
        Labelled images for ``overfitting``, named as for ``sslsim train --data``.
    views, standardise
        Augmentation of these images, and whether their pixels are standardised.
    seed : int, optional
        Seed of the training; ``sslsim report`` takes runs that differ in it only together.

    Attributes
    ----------
    folder : Path
        The run folder.
    options : RecordOptions
        What ``config.json`` holds.
    recording_seconds : float
        Time that the snapshots have taken.

    Raises
    ------
    ValueError
        If an argument does not fit, the network gives something else than (n, d), or the folder is
        another run's or is being written.

    Examples
    --------
    >>> import tempfile
    >>> encoder, pairs = nn.Linear(4, 2, bias=False), torch.randn(2, 16, 4)
    >>> recorder = Recorder(Path(tempfile.mkdtemp()) / "run", encoder, *pairs, lr=0.1)
    >>> optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    >>> for step in range(1, 6):
    ...     loss = (encoder(pairs[0]).T @ encoder(pairs[1]) / 16 - torch.eye(2)).square().sum()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     taken = recorder.update(step)
    >>> recorder.finish().name, recorder.lines[-1]["step"]
    ('run', 5)
    """

    def __init__(
        self,
        folder: str | Path,
        encoder: nn.Module,
        x: torch.Tensor | ArrayLike,
        x_prime: torch.Tensor | ArrayLike,
        *,
        lr: float | torch.optim.Optimizer,
        momentum: float = 0.0,
        method: str | Loss = "barlow_twins",
        barlow_form: str | None = None,
        similarity: str | None = None,
        temperature: float | None = None,
        spectrum: Literal["cross", "covariance"] | None = None,
        steps: int | None = None,
        records: int = 100,
        adaptive: bool = False,
        checkpoints: int = 0,
        factory: str | None = None,
        batch: int | None = None,
        data: str | None = None,
        views: str = "simclr",
        standardise: bool = False,
        seed: int | None = None,
    ) -> None:
        self._begun = time.perf_counter()
        self.recording_seconds = 0.0
        self.folder = Path(folder)
        self._encoder = encoder
        self._pairs = _checked_pairs(x, x_prime)
        self._optimizer = lr if isinstance(lr, torch.optim.Optimizer) else None
        name, rate, momentum = _optimizer(lr, momentum)
        named, loss, self._objective = _loss(method, barlow_form, similarity, temperature)
        self.options = RecordOptions(
            method=named,
            barlow_form=barlow_form,
            similarity=similarity,
            temperature=temperature,
            loss=loss,
            spectrum=spectrum or cast(Any, _default_spectrum(named, barlow_form, similarity)),
            encoder=type(_bare(encoder)).__name__,
            factory=factory,
            dim=self._dimension(),
            pairs=len(self._pairs.x),
            optimizer=name,
            lr=rate,
            momentum=momentum,
            batch=batch,
            steps=steps,
            records=records,
            adaptive=adaptive,
            checkpoints=checkpoints,
            data=data,
            views=views,
            standardise=standardise,
            seed=seed,
            out=self.folder,
        )
        _check(self.options, encoder)
        self._planned = _planned(self.options)
        self._loss: torch.Tensor | float = 0.0  # sum since the last snapshot
        self._losses = 0
        self._step, self._time, self._rate = 0, 0.0, self._current_rate()
        self._lock: ExitStack | None = None
        self._records = Records(self.folder)
        with ExitStack() as opened:
            opened.enter_context(only_writer(self.folder))
            self._continues = self._open()
            if not self._continues:
                self._record()
            self._lock = opened.pop_all()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Lines of ``records.jsonl`` so far."""
        return self._records.lines

    def update(self, step: int | None = None, loss: torch.Tensor | float | None = None) -> bool:
        """Note that the weights were updated, and take a snapshot if one is due.

        Parameters
        ----------
        step : int, optional
            Number of updates so far. Default: one more than at the last call.
        loss : Tensor or float, optional
            Training loss; its mean since the last snapshot is recorded.

        Returns
        -------
        bool
            Whether a snapshot was taken.

        Raises
        ------
        ValueError
            If the step goes back, is needed to continue a run and not given, the recorder has
            finished, or an embedding is not finite.
        """
        if self._lock is None:
            raise ValueError(f"{self.folder} has been finished; expected no further update")
        if step is None and self._continues:
            raise ValueError(
                f"{self.folder} holds records up to step {self.lines[-1]['step']}; expected "
                "update(step) with the number of updates so far, to continue it"
            )
        step = self._step + 1 if step is None else _whole("step", step)
        if self._continues:
            self._continue(step)
        elif step < self._step:
            raise ValueError(f"step is {step}; expected at least {self._step}, that of the last")
        if loss is not None:
            self._loss = self._loss + torch.as_tensor(loss).detach()  # no waiting for a device
            self._losses += 1
        self._time += (step - self._step) * self._rate
        self._step, self._rate = step, self._current_rate()
        if not self._is_due():
            return False
        self._record()
        return True

    def finish(self, step: int | None = None) -> Path:
        """Take the last snapshot, detect steps and write ``training.json``.

        Parameters
        ----------
        step : int, optional
            Number of updates in all. Default: that of the last call of :meth:`update`.

        Returns
        -------
        Path
            The run folder.
        """
        if self._lock is None:
            return self.folder
        if step is not None:
            self.update(step)
        if not self._continues and self.lines[-1]["step"] != self._step:
            self._record()
        write_json(self.folder / "training.json", self._result())
        self.close()
        reason = self.lines[-1]["collapsed"]
        if reason is not None:
            warnings.warn(f"{self.folder}: {reason}", stacklevel=2)
        return self.folder

    def close(self) -> None:
        """Let the folder go without a result; another recorder may continue it."""
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        self.close()

    def _open(self) -> bool:
        """Begin the folder, or read what it holds; return whether there are records."""
        check_folder(self.folder, "record", _RESULTS)
        config, pairs = self.folder / "config.json", self.folder / "pairs.npz"
        if not config.exists() or not pairs.exists():
            write_arrays(
                pairs, x=self._pairs.x.cpu().numpy(), x_prime=self._pairs.x_prime.cpu().numpy()
            )
            write_json(config, described_run("record", self.options))
            self._records.resume(-1)
            return False
        stored = stored_options(self.folder, "record", RecordOptions)
        free = {*_FREE, "lr"} if self._optimizer is not None else {*_FREE}
        bound = {name: value for name, value in vars(self.options).items() if name not in free}
        check_same(self.folder, plain(vars(stored)), bound)
        held = read_arrays(pairs)
        for name in ("x", "x_prime"):
            if not np.array_equal(
                held.get(name, np.zeros(0)), getattr(self._pairs, name).cpu().numpy()
            ):
                raise ValueError(
                    f"{self.folder} holds a run on other pairs; expected the same, or another "
                    "folder"
                )
        self.options = replace(self.options, lr=stored.lr)
        write_json(config, read_json(config) | {"options": plain(self.options)})
        self._records.recall()
        return bool(self.lines)

    def _continue(self, step: int) -> None:
        """Go on after some updates: drop the records of later ones."""
        if self.lines[-1]["step"] > step:
            self._records.resume(step)
            self._records.save()
        self._step, self._time = self.lines[-1]["step"], self.lines[-1]["time"]
        self._continues = False
        for name in _STALE:
            (self.folder / name).unlink(missing_ok=True)

    def _is_due(self) -> bool:
        last = self.lines[-1]["step"]
        due = [*self._planned, *self._closer()]
        return any(last < step <= self._step for step in due)

    def _closer(self) -> list[int]:
        """A further snapshot where an eigenvalue moves fast."""
        extra = sum(line["step"] not in self._planned for line in self.lines)
        room = self.options.records - 1 - len(self._planned)
        if not self.options.adaptive or len(self.lines) < 2 or extra >= room:
            return []
        spectra = [[self._records.arrays[name][at] for name in _SPECTRA] for at in (-2, -1)]
        wanted = closer_record([line["step"] for line in self.lines[-2:]], spectra)
        return [] if wanted is None else [wanted]

    def _record(self) -> None:
        device = self._device()
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # what was queued before is not this snapshot's time
        begun = time.perf_counter()
        self._pairs = HeldOutPairs(self._pairs.x.to(device), self._pairs.x_prime.to(device))
        line: dict[str, Any] = {"step": self._step, "time": self._time}
        if self._losses:
            line["loss"] = float(self._loss) / self._losses
        with self._draws_kept():
            measures = snapshot(self._encoder, self._pairs, self._objective)
        self._records.add(line | measures)
        self._loss, self._losses = 0.0, 0
        self._records.save()
        if self.options.checkpoints:
            self._save_weights()
        self.recording_seconds += time.perf_counter() - begun

    def _save_weights(self) -> None:
        """Keep the weights of some snapshots, spread over all, and of the newest."""
        folder, encoder = self.folder / "checkpoints", _bare(self._encoder)
        prefix = "encoder." if isinstance(encoder, Encoder) else "encoder.backbone."
        state = {f"{prefix}{name}": value for name, value in encoder.state_dict().items()}
        save_checkpoint(folder, self._step, {"step": self._step, "learner": state}, keep=0)
        stride = math.ceil(self.options.records / max(self.options.checkpoints - 1, 1))
        before = len(self.lines) - 2
        if before >= 0 and (before % stride or self.options.checkpoints == 1):
            path = folder / f"checkpoint-{self.lines[before]['step']:09d}.pt"
            path.unlink(missing_ok=True)

    def _result(self) -> dict[str, Any]:
        options = self.options
        records = {name: np.stack(rows) for name, rows in self._records.arrays.items()}
        records["times"] = np.array([line["time"] for line in self.lines])
        spectrum = f"{options.spectrum}_spectrum"
        steps = recorded_steps(records, spectrum)
        return {
            "method": options.method,
            "encoder": options.encoder,
            "data": options.data or OWN_PAIRS,
            "views": OWN_PAIRS,
            "dim": options.dim,
            "spectrum": spectrum,
            "parameters": sum(p.numel() for p in self._encoder.parameters()),
            "n_pairs": options.pairs,
            "steps": self.lines[-1]["step"],
            "time": self.lines[-1]["time"],
            "seconds": time.perf_counter() - self._begun,
            "recording_seconds": self.recording_seconds,
            "step_times": steps.times,
            "step_standard_errors": steps.standard_errors,
            "step_heights": steps.heights,
            "detected_steps": int(steps.detected.sum()),
            "probes": {},
            "first_record": self.lines[0],
            "last_record": self.lines[-1],
        }

    def _current_rate(self) -> float:
        """Flow time of one update."""
        if self._optimizer is None:
            return self.options.lr / (1 - self.options.momentum)
        name, lr, momentum = _optimizer(self._optimizer, 0.0)
        return lr / (1 - momentum) if name == "sgd" else lr

    def _device(self) -> torch.device:
        first = next(self._encoder.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def _draws_kept(self) -> AbstractContextManager[None]:
        """What a network draws inside the block, the training draws after it as well."""
        device = self._device()
        return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])

    def _dimension(self) -> int:
        """Dimension of the embedding of two samples, which has to be a matrix."""
        device = self._device()
        with torch.no_grad(), batch_statistics(self._encoder), self._draws_kept():
            try:
                z = self._encoder(self._pairs.x[:2].to(device))
            except RuntimeError as error:
                shape = tuple(self._pairs.x[:2].shape)
                raise ValueError(
                    f"encoder fails on samples of shape {shape}: {str(error).splitlines()[0]}"
                ) from error
        if not isinstance(z, torch.Tensor):
            raise ValueError(f"encoder gives a {type(z).__name__}; expected a tensor (n, d)")
        if z.ndim != 2 or len(z) != 2 or not z.is_floating_point():
            raise ValueError(
                f"encoder gives shape {tuple(z.shape)} of {z.dtype} for 2 samples; expected floats "
                "(n, d)"
            )
        return int(z.shape[1])


def _bare(network: nn.Module) -> nn.Module:
    """A network without what DistributedDataParallel and torch.compile put around it."""
    for name in ("module", "_orig_mod"):
        inner = getattr(network, name, None)
        kinds = ("DistributedDataParallel", "DataParallel", "OptimizedModule")
        if isinstance(inner, nn.Module) and type(network).__name__ in kinds:
            return _bare(inner)
    return network


def _checked_pairs(x: torch.Tensor | ArrayLike, x_prime: torch.Tensor | ArrayLike) -> HeldOutPairs:
    views = {"x": torch.as_tensor(x).detach(), "x_prime": torch.as_tensor(x_prime).detach()}
    shape = tuple(views["x"].shape)
    if tuple(views["x_prime"].shape) != shape:
        raise ValueError(
            f"x has shape {shape} and x_prime {tuple(views['x_prime'].shape)}; expected two views "
            "of the same samples"
        )
    if len(shape) < 2 or shape[0] < 2:
        raise ValueError(f"x has shape {shape}; expected (n, ...) with n of at least 2")
    for name, view in views.items():
        if not view.is_floating_point():
            raise ValueError(f"{name} is {view.dtype}; expected floats, as the network is fed with")
        if not bool(view.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinite values; expected finite numbers")
    return HeldOutPairs(views["x"].clone(), views["x_prime"].clone())


def _optimizer(lr: float | torch.optim.Optimizer, momentum: float) -> tuple[str, float, float]:
    """Name, learning rate and momentum."""
    name = "sgd"
    if isinstance(lr, torch.optim.Optimizer):
        if momentum:
            raise ValueError(f"momentum is {momentum}; expected none beside an optimiser")
        group, name = lr.param_groups[0], type(lr).__name__.lower()
        lr, momentum = float(group["lr"]), float(group.get("momentum", 0.0))
    elif not 0 < lr < math.inf:
        raise ValueError(f"lr is {lr}; expected a finite number above zero, or an optimiser")
    check_optimizer("sgd", momentum, 0.0)
    return name, float(lr), momentum


def _loss(
    method: str | Loss,
    barlow_form: str | None,
    similarity: str | None,
    temperature: float | None,
) -> tuple[str, str | None, Loss | None]:
    """Name of the loss, its place if it can be imported again, and the loss of two embeddings."""
    if isinstance(method, str) and ":" not in method:
        chosen = pair_objective(
            method, barlow_form=barlow_form, similarity=similarity, temperature=temperature
        )
        return method, None, chosen
    given = {"barlow_form": barlow_form, "similarity": similarity, "temperature": temperature}
    for option, value in given.items():
        if value is not None:
            raise ValueError(f"{option} is {value!r} beside a loss; expected it with a method only")
    if isinstance(method, str):
        return method.rpartition(":")[2], method, _scalar(own_callable(method, "method"))
    if not callable(method):
        raise ValueError(
            f"method is a {type(method).__name__}; expected one of {', '.join(METHODS)}, a loss "
            "of two embeddings, or 'package.module:function'"
        )
    name = getattr(method, "__qualname__", type(method).__name__)
    module = getattr(method, "__module__", "__main__")
    again = getattr(sys.modules.get(module), name, None) if module != "__main__" else None
    return name, f"{module}:{name}" if again is method else None, _scalar(method)


def _scalar(loss: Loss) -> Loss:
    """A loss of float32 embeddings, as users' losses are written for; refused if no number."""

    def value(z: torch.Tensor, z_prime: torch.Tensor) -> float:
        found = loss(z.float(), z_prime.float())
        number = torch.as_tensor(found) if isinstance(found, (torch.Tensor, float, int)) else None
        if number is None or number.numel() != 1:
            what = "nothing of the kind" if number is None else f"shape {tuple(number.shape)}"
            raise ValueError(f"the loss gives {what}; expected one number of two embeddings")
        return float(number)

    return value


def _default_spectrum(method: str, barlow_form: str | None, similarity: str | None) -> str:
    return spectrum_of_method(method, barlow_form, similarity).removesuffix("_spectrum")


def _planned(options: RecordOptions) -> list[int]:
    """Updates of the planned snapshots: one is left for the end, some for fast times."""
    count = options.records - 1
    if options.adaptive:
        count = max(count - count // _EXTRA, 2)
    return open_ended_steps(count) if options.steps is None else record_steps(options.steps, count)


def _check(options: RecordOptions, encoder: nn.Module) -> None:
    for name in ("steps", "batch", "seed"):
        value = getattr(options, name)
        if value is not None:
            _whole(name, value)
    for name, least in (("records", 4), ("checkpoints", 0)):
        if _whole(name, getattr(options, name)) < least:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least {least}")
    if options.spectrum not in SPECTRA:
        raise ValueError(f"spectrum is {options.spectrum!r}; expected one of {', '.join(SPECTRA)}")
    if options.views not in VIEWS:
        raise ValueError(f"views is {options.views!r}; expected one of {', '.join(VIEWS)}")
    if options.factory is not None:
        with torch.random.fork_rng(devices=[]):
            built = as_encoder(load_module(options.factory), options.dim)
        _check_same_network(options.factory, built, as_encoder(_bare(encoder), options.dim))


def _check_same_network(factory: str, built: nn.Module, encoder: nn.Module) -> None:
    """Refuse a factory that builds another network than the one that is trained."""
    parts = [
        {key: tuple(v.shape) for key, v in net.state_dict().items()} for net in (built, encoder)
    ]
    for key in {**parts[1], **parts[0]}:
        if parts[0].get(key) != parts[1].get(key):
            raise ValueError(
                f"factory {factory} builds another network: {key!r} is {parts[0].get(key)} there; "
                f"expected {parts[1].get(key)}"
            )


def _whole(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; expected a whole number") from None
    if number < 0:
        raise ValueError(f"{name} is {number}; expected a whole number, zero or above")
    return number
