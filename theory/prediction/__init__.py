"""Step times of data, with intervals for the population that the data come from."""

from theory.prediction.bootstrap import bootstrap_intervals
from theory.prediction.from_kernel import KernelPrediction, predict_kernel_steps
from theory.prediction.held_out import HeldOut, held_out_eigenvalues
from theory.prediction.predict import StepPrediction, predict_steps, predict_steps_from
from theory.prediction.uncertainty import (
    EigenvalueEstimate,
    StepIntervals,
    estimate_eigenvalues,
    step_intervals,
)

__all__ = [
    "EigenvalueEstimate",
    "HeldOut",
    "KernelPrediction",
    "StepIntervals",
    "StepPrediction",
    "bootstrap_intervals",
    "estimate_eigenvalues",
    "held_out_eigenvalues",
    "predict_kernel_steps",
    "predict_steps",
    "predict_steps_from",
    "step_intervals",
]
