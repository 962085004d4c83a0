"""What mathematics predicts about self-supervised learning: closed forms, bounds, derivations."""

from theory.predict import StepPrediction, predict_steps, predict_steps_from

__all__ = ["StepPrediction", "predict_steps", "predict_steps_from"]
