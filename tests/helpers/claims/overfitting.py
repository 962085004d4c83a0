"""Overfitting and UMM."""

from claims.page import Page

PAGES: tuple[Page, ...] = ()
