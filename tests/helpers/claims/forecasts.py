"""Forecasts of steps."""

from claims.page import Page

PAGES: tuple[Page, ...] = ()
