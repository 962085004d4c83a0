"""Pages without results of studies."""

from claims.page import Page

PAGES: tuple[Page, ...] = ()
