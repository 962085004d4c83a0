"""DINO: a student matches the centred and sharpened distribution of its teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslsim.objectives._common import batch, positive, views


def dino(
    student: Sequence[torch.Tensor],
    teacher: Sequence[torch.Tensor],
    center: torch.Tensor,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> torch.Tensor:
    """Cross-entropy of teacher and student over all pairs of different views.

    Parameters
    ----------
    student : sequence of Tensor, shape (n, k)
        Outputs of the student for all views: the two full views first, then any number of small
        crops.
    teacher : sequence of two Tensors, shape (n, k)
        Outputs of the teacher for the two full views, in the same order. No gradient flows into
        them.
    center : Tensor, shape (k,)
        Running mean of the teacher's outputs, subtracted from them; :func:`dino_center` updates it.
    student_temperature, teacher_temperature : float
        Divisors of the outputs in the softmax; the lower one of the teacher sharpens it.

    Returns
    -------
    Tensor, scalar
        Mean over samples and pairs (i, v) with v != i of ``-sum_k P_teacher,i log P_student,v`` in
        nats. Half precision is converted to float32.

    Raises
    ------
    ValueError
        If the teacher does not have two views or the student has fewer, shapes differ or are not
        (n, k), n < 2, ``center`` is not (k,), or a temperature is not positive.

    Notes
    -----
    arXiv 2104.14294, eq. 3 and algorithm 1; the mean over pairs is that of the authors' code.

    Examples
    --------
    >>> out = torch.zeros(3, 4)
    >>> round(float(dino([out, out], [out, out], torch.zeros(4))), 4)
    1.3863
    """
    if len(teacher) != 2:
        raise ValueError(f"teacher has {len(teacher)} views; expected the two full ones")
    student, teacher = views("student", student), views("teacher", teacher)
    batch(student=student[0], teacher=teacher[0])
    center = _center(center, teacher[0])
    positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    predictions = [torch.log_softmax(s / student_temperature, dim=1) for s in student]
    terms = []
    for i, output in enumerate(teacher):
        target = torch.softmax((output.detach() - center) / teacher_temperature, dim=1)
        terms += [
            -(target * prediction).sum(dim=1).mean()
            for v, prediction in enumerate(predictions)
            if v != i
        ]
    return torch.stack(terms).mean()


def dino_center(
    center: torch.Tensor, teacher: Sequence[torch.Tensor], *, momentum: float = 0.9
) -> torch.Tensor:
    """Centre after a step, ``momentum center + (1 - momentum) mean(teacher)``.

    Parameters
    ----------
    center : Tensor, shape (k,)
        Centre before the step; left as it is.
    teacher : sequence of Tensor, shape (n, k)
        Outputs of the teacher for the full views of the whole batch.
    momentum : float
        Momentum, from 0 to 1.

    Returns
    -------
    Tensor, shape (k,)
        New centre without gradient, in the type of ``center``.

    Raises
    ------
    ValueError
        If there are fewer than two views, shapes do not fit, or ``momentum`` is out of range.

    Notes
    -----
    arXiv 2104.14294, eq. 4.

    Examples
    --------
    >>> dino_center(torch.zeros(2), [torch.eye(2), torch.eye(2)], momentum=0.5).tolist()
    [0.25, 0.25]
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum}; expected a number from 0 to 1")
    outputs = views("teacher", teacher)
    before = _center(center, outputs[0])
    mean = torch.stack([output.detach().mean(dim=0) for output in outputs]).mean(dim=0)
    return (momentum * before + (1 - momentum) * mean).to(center.dtype)


def _center(center: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    if center.shape != output.shape[1:]:
        raise ValueError(
            f"center has shape {tuple(center.shape)}; expected ({output.shape[1]},), one entry for "
            "each output of the teacher"
        )
    return center.detach().to(output.dtype)
