"""What the numbers of documentation pages rest on, page by page."""

from claims import (
    forecasts,
    front,
    kernels,
    memorization,
    modes,
    networks,
    overfitting,
    papers,
    steps,
    tools,
)

MODULES = (
    front, papers, steps, networks, kernels, forecasts, overfitting, memorization, modes, tools,
)  # fmt: skip
PAGES = tuple(page for module in MODULES for page in module.PAGES)
