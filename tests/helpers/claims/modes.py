"""Modes: sooner, their meaning, their memorisation."""

from claims.page import Page

PAGES: tuple[Page, ...] = ()
