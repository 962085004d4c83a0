"""Networks in training: ``train``, what theory says of a run, and forecasts."""
