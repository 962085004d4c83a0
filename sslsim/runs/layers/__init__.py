"""The layers of a run over its training: probes, coding rates, and falls of accuracy."""
