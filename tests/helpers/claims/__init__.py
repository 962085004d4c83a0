"""What the numbers of documentation pages rest on, page by page."""

from claims import forecasts, front, kernels, memorization, modes, overfitting, steps, tools

PAGES = tuple(
    page
    for module in (front, steps, kernels, forecasts, overfitting, memorization, modes, tools)
    for page in module.PAGES
)
