"""Step times of linear models, wide networks and convnets."""

from claims.page import Page

PAGES: tuple[Page, ...] = ()
