"""What the numbers of documentation pages rest on, page by page."""

from claims import front

PAGES = front.PAGES
