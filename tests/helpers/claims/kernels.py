"""Kernels and the ResNet-50."""

from claims.page import Page

PAGES: tuple[Page, ...] = ()
