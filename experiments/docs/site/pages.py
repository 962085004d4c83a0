"""What the site adds to the pages: pictures, results of the README, links in docstrings."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
_GALLERY = re.compile(r"\((?:\.\./)*paper_figs/gallery/")
_SHAPE = re.compile(r"<code>\((.*), shape\((.*)\)\)</code>")
_ROLE = re.compile(r":(?:func|mod|class|meth|attr|data):<code>~?([\w.]+)</code>")


def on_files(files: Any, config: Any) -> Any:
    """Add the pictures to the files of the site."""
    from mkdocs.structure.files import File

    for path in (ROOT / "paper_figs" / "gallery").glob("*.png"):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the gaps of the pages, and point to the pictures."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("experiments/docs/", "")
    results = readme.partition("## Results\n")[2].partition("\n## ")[0]
    markdown = markdown.replace("<!-- results of the README -->", results)
    return _GALLERY.sub("(" + "../" * page.file.src_uri.count("/") + "pictures/", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Write shapes as docstrings do, and link the names in them where a page has them."""
    html = _SHAPE.sub(_shape, html)
    return _ROLE.sub(r'<autoref optional identifier="\1"><code>\1</code></autoref>', html)


def _shape(found: re.Match[str]) -> str:
    comma = "" if "," in found[2] or found[2] == "..." else ","
    return f"<code>{found[1]}, shape ({found[2]}{comma})</code>"
