"""Pages of a site taken apart."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """A page taken apart: tables by section, links, loaded files, and whether tags match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.stack: list[tuple[str, dict]] = []
        self.sections: dict[str, list[list[str]]] = {}
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        assert self.stack == [], f"{path}: {self.stack}"

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.attributes += [(tag, name) for name in values]
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        elif "href" in values or "src" in values:
            self.loaded.append(values.get("href") or values["src"])
        if tag not in ("meta", "link", "img", "br", "input"):
            self.stack.append((tag, values))
        if tag == "tr" and self.section:
            self.sections.setdefault(self.section, []).append([])
        if tag in ("td", "th") and self.section:
            self.sections[self.section][-1].append("")

    def handle_endtag(self, tag):
        assert self.stack[-1][0] == tag, (self.stack, tag)
        self.stack.pop()

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.stack and self.stack[-1][0] == tag:
            self.stack.pop()

    def handle_data(self, data):
        inside = [tag for tag, _ in self.stack]
        if self.section and ("td" in inside or "th" in inside):
            rows = self.sections[self.section]
            rows[-1][-1] = " ".join(f"{rows[-1][-1]} {data}".split())

    @property
    def section(self) -> str:
        """Id of the innermost section that has one."""
        ids = [values["id"] for tag, values in self.stack if tag == "section" and "id" in values]
        return ids[-1] if ids else ""


def pages(site: Path) -> dict[str, Page]:
    return {str(p.relative_to(site)): Page(p) for p in sorted(site.rglob("*.html"))}
