"""When a network in training learns its next modes: ``forecast``."""
