"""Memorisation and removal."""

from claims.page import Page

PAGES: tuple[Page, ...] = ()
