"""Networks in training: ``train``, and what theory says of a run."""
