"""Which layers overfit, when, and whether the coding rate tells: ``overfitting``."""
