"""Learners: modules that turn the views of a batch into a loss, for the training loop.

A learner contains the encoder and the other parts of its method (a predictor, prototypes, a
teacher). Its ``forward`` embeds the rows of this process, gathers the embeddings of all processes
and returns the loss of the global batch. The loop is therefore independent of the method, and a
method uses processes only through :func:`sslsim.core.distributed.gather`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from sslsim.core.distributed import gather, global_mean
from sslsim.data.views import Views
from sslsim.encoders.build import Encoder
from sslsim.objectives import supervised

PairObjective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Learner(nn.Module):
    """Base of all methods.

    Parameters
    ----------
    encoder : Encoder
        Network to train.

    Attributes
    ----------
    encoder : Encoder
        The network.
    views : str
        Default kind of views for the method.
    follows_progress : bool
        Whether updates depend on the progress of the run, as the schedule of a teacher does.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> Learner(build_encoder("linear", (1, 8, 8), 2, seed=0)).views
    'simclr'
    """

    views = "simclr"
    follows_progress = False

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the global batch, given the views (and labels) of this process's rows."""
        raise NotImplementedError

    def after_step(self, done: float) -> None:
        """Update the parts without gradients; ``done`` is the finished share of the run, (0, 1]."""


def pair_of(batch: Views) -> tuple[torch.Tensor, torch.Tensor]:
    """The two views of a batch of pairs.

    Parameters
    ----------
    batch : Views
        Views of a batch.

    Returns
    -------
    x, x_prime : Tensor, shape (n, c, h, w)
        The two views.

    Raises
    ------
    ValueError
        If the batch does not have two views.

    Examples
    --------
    >>> x, x_prime = pair_of(Views((torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)), None))
    >>> x_prime.mean().item()
    1.0
    """
    if len(batch.views) != 2:
        raise ValueError(f"{len(batch.views)} view(s) were drawn; expected the two of a pair")
    return batch.views[0], batch.views[1]


class PairLearner(Learner):
    """Method that embeds two views of an image and has an objective of the embeddings only.

    Parameters
    ----------
    encoder : Encoder
        The network.
    objective : callable
        ``(z, z_prime) -> loss`` of the embeddings (n, d) of the global batch, for instance
        :func:`sslsim.objectives.barlow_twins`.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> from sslsim.objectives import barlow_twins
    >>> learner = PairLearner(build_encoder("linear", (1, 8, 8), 2, seed=0), barlow_twins)
    >>> pair = Views((torch.zeros(4, 1, 8, 8), torch.zeros(4, 1, 8, 8)), None)
    >>> learner(pair, None).item()  # C = 0: ||C - I||^2 = d
    2.0
    """

    def __init__(self, encoder: Encoder, objective: PairObjective) -> None:
        super().__init__(encoder)
        self.objective = objective

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Loss of the pairs of the global batch; labels are not used."""
        z, z_prime = (gather(self.encoder(view)) for view in pair_of(batch))
        with torch.autocast(z.device.type, enabled=False):
            return self.objective(z, z_prime)


class SupervisedLearner(Learner):
    """Supervised control: cross-entropy of labels on one augmented view.

    Parameters
    ----------
    encoder : Encoder
        Network whose embedding contains the logits: ``dim`` is the number of classes.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> learner = SupervisedLearner(build_encoder("linear", (1, 8, 8), 2, seed=0))
    >>> pair = Views((torch.zeros(4, 1, 8, 8), torch.zeros(4, 1, 8, 8)), None)
    >>> round(learner(pair, torch.tensor([0, 1, 0, 1])).item(), 4)  # log 2
    0.6931
    """

    views = "weak"

    def forward(self, batch: Views, labels: torch.Tensor | None) -> torch.Tensor:
        """Mean cross-entropy over the first views of the global batch."""
        if labels is None:
            raise ValueError("the images have no labels; expected labels for supervised training")
        logits = self.encoder(batch.views[0])
        with torch.autocast(logits.device.type, enabled=False):
            return global_mean(supervised(logits, labels))


def has_maps(encoder: Encoder) -> bool:
    """Whether a backbone ends with the mean over places, so that it accepts images of all sizes.

    Parameters
    ----------
    encoder : Encoder
        Encoder of any kind.

    Returns
    -------
    bool
        True for convnet and ResNets.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> [has_maps(build_encoder(name, (1, 8, 8), 2, seed=0)) for name in ("mlp", "convnet")]
    [False, True]
    """
    children = dict(encoder.backbone.named_children())
    return type(encoder.backbone) is nn.Sequential and list(children)[-1:] == ["pool"]


def embed_views(encoder: Encoder, views: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Embed views; all views of one size are one batch.

    Parameters
    ----------
    encoder : Encoder
        Network. Its BatchNorms see all views of one size as one batch, as in the code of SwAV and
        DINO.
    views : sequence of Tensor, shape (r, c, h, w)
        Views, whose height and width may differ.

    Returns
    -------
    list of Tensor, shape (r, d)
        Embeddings in the order of the views.

    Raises
    ------
    ValueError
        If sizes differ and the encoder accepts images of one size only.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = build_encoder("convnet", (1, 8, 8), 2, seed=0)
    >>> [z.shape for z in embed_views(encoder, [torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 4, 4)])]
    [torch.Size([3, 2]), torch.Size([3, 2])]
    """
    groups: dict[torch.Size, list[int]] = {}
    for i, view in enumerate(views):
        groups.setdefault(view.shape, []).append(i)
    if len(groups) > 1 and not has_maps(encoder):
        sizes = ", ".join(f"{shape[2]} x {shape[3]}" for shape in groups)
        raise ValueError(
            f"views are {sizes}; expected one size, or an encoder that takes all: "
            "convnet or a ResNet"
        )
    embeddings: dict[int, torch.Tensor] = {}
    for members in groups.values():
        z = encoder(torch.cat([views[i] for i in members]))
        embeddings.update(zip(members, z.chunk(len(members)), strict=True))
    return [embeddings[i] for i in range(len(views))]
