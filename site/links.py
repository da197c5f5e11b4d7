"""Does every link of a built site lead somewhere, and does it need nothing from elsewhere to be shown?"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SHOWN = {("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src")}  # what a browser fetches by itself


class _Page(HTMLParser):
    """The targets of a page, as (tag, address), and its anchors."""

    def __init__(self, path: Path):
        super().__init__()
        self.targets: list[tuple[str, str, str]] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.targets += [(tag, name, values[name]) for name in ("href", "src") if name in values]


def broken_links(site: Path) -> list[str]:
    """A line for each link within the folder `site` that leads nowhere, and each thing shown that is fetched."""
    pages = {path.resolve(): _Page(path) for path in sorted(site.rglob("*.html"))}
    lines = []
    for path, page in pages.items():
        for tag, name, address in page.targets:
            url = urlsplit(address)
            if url.scheme or url.netloc:
                fetched = (tag, name) in SHOWN and url.scheme != "data"
                lines += [f"{path.relative_to(site.resolve())}: fetches {address}"] if fetched else []
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            there = target.exists() and (not url.fragment or target not in pages or _has(pages[target], url.fragment))
            lines += [] if there else [f"{path.relative_to(site.resolve())}: {address} leads nowhere"]
    return lines


def _has(page: _Page, fragment: str) -> bool:
    return unquote(fragment) in page.anchors
