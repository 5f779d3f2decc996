"""The leaderboard as a static site: plain files that work from anywhere, also from ``file://``.

    index.html, leaderboard.json
    benchmark/<name>.html, benchmark/<name>.csv
    method/<name>.html
    result/<id>.html, result/<id>.json, result/<id>/*.jpg
    published/<table>.html
    static/

Addresses depend on names and ids alone, so links stay good from build to build.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.published import published_tables
from harness.api import Benchmark, Card, Curve, PrerequisiteError
from harness.records.record import Evidence, Record
from reports import rendering
from reports.boards import build_board, measured_row, newest, section_key
from reports.exports import board_csv, leaderboard_json
from reports.gallery import Gallery, Truth, draw_gallery
from reports.tables import primary

_MARKER = "leaderboard.json"
_JSON = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
_STATIC = Path(__file__).parent / "static"


def build_site(
    records: Sequence[Record],
    evidence: Callable[[Record], Evidence],
    out: Path,
    benchmarks: Callable[[str], Benchmark],
    cards: Callable[[str], Card],
) -> Path:
    """Render records as a site, in place of an earlier one; all of it appears at once or nothing.

    Parameters
    ----------
    records : sequence of Record
    evidence : callable
        Gives the files behind a record.
    out : Path
        Folder of the site: new, empty, or an earlier site.
    benchmarks, cards : callable
        Give a benchmark, or a method's card, by name.

    Returns
    -------
    Path
        The site's first page.

    Raises
    ------
    PrerequisiteError
        If ``out`` holds something else, or cannot be written.
    """
    out = out.resolve()
    if out.is_dir() and any(out.iterdir()) and not (out / _MARKER).is_file():
        raise PrerequisiteError(
            f"{out} holds files that are no leaderboard.", "Choose a new or empty folder for it."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise PrerequisiteError(
            f"The leaderboard {out} cannot be written: {error.strerror}.", "Choose another folder."
        ) from None
    try:
        _Site(building / "site", records, evidence, benchmarks, cards).write()
        if out.exists():
            out.rename(building / "old")
        try:
            (building / "site").rename(out)
        except OSError:
            (building / "old").rename(out)
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return out / "index.html"


def slug(name: str) -> str:
    """Return a file name for any text: the text itself if it is a plain lower-case word.

    >>> slug("hrnet"), slug("../../etc/passwd")
    ('hrnet', 'etc-passwd-3754d6cb')
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def method_page(record: Record) -> str:
    """Return the address of a method's page; predictions made elsewhere have pages of their own."""
    name = record.method if record.source == "run" else f"score {record.method}"
    return f"method/{slug(name)}.html"


def result_page(record: Record) -> str:
    """Return the address of a result's page."""
    return f"result/{slug(record.id)}.html"


class _Site:
    """One build: what is known, and the pages made of it."""

    def __init__(
        self,
        root: Path,
        records: Sequence[Record],
        evidence: Callable[[Record], Evidence],
        benchmarks: Callable[[str], Benchmark],
        cards: Callable[[str], Card],
    ) -> None:
        self.root = root
        self.evidence = evidence
        published = {name for table in published_tables().values() for name in table.benchmarks}
        self.benchmarks = _known(benchmarks, published | {r.benchmark for r in records})
        self.cards = _known(cards, {r.method for r in records if r.source == "run"})
        self.records = [r for r in records if r.benchmark in self.benchmarks]
        self.hidden = sorted({r.benchmark for r in records} - set(self.benchmarks))
        self.boards = [
            build_board(b, [r for r in self.records if r.benchmark == b.name], self.cards)
            for b in self.benchmarks.values()
        ]
        self.boards.sort(key=lambda b: (not b.kind("measured"), not b.kind("embedded")))
        self.truths: dict[tuple[str, str, str], Truth] = {}
        self.templates = rendering.environment(
            slug=slug, method_page=method_page, result_page=result_page
        )

    def write(self) -> None:
        """Write every file of the site."""
        for folder in ("benchmark", "method", "result", "published"):
            (self.root / folder).mkdir(parents=True)
        shutil.copytree(_STATIC, self.root / "static")
        galleries = {record.id: self._result(record) for record in self.records}
        for board in self.boards:
            name = slug(board.benchmark.name)
            self._page("benchmark.html", f"benchmark/{name}.html", board=board)
            self._text(f"benchmark/{name}.csv", board_csv(board))
        ordered = sorted(self.records, key=_order)
        for page, group in itertools.groupby(ordered, key=method_page):
            self._method(page, list(group), galleries)
        for table in published_tables().values():
            headers = rendering.printed_headers(table, self.benchmarks)
            self._page("published.html", f"published/{table.id}.html", table=table, headers=headers)
        self._page(
            "index.html",
            "index.html",
            boards=self.boards,
            runs=rendering.runs(self.records),
            tables=published_tables().values(),
            hidden=self.hidden,
        )
        self._text(_MARKER, leaderboard_json(self.boards))

    def _result(self, record: Record) -> Gallery:
        """Write the page and the data of one result."""
        benchmark = self.benchmarks[record.benchmark]
        evidence = self.evidence(record)
        gallery, curves, breakdown = Gallery(), [], {}
        if record.status == "done":
            folder = self.root / "result" / slug(record.id)
            gallery = draw_gallery(record, evidence, benchmark, self._truth, folder)
            curves = rendering.evidence_curves(evidence)
            breakdown = rendering.evidence_breakdown(evidence)
        protocol = benchmark.protocols.get(record.protocol)
        meanings = protocol.meanings() if protocol else {}
        self._page(
            "result.html",
            result_page(record),
            record=record,
            benchmark=benchmark,
            row=measured_row(benchmark, record, self.cards),
            metrics=rendering.metric_rows(benchmark, record),
            figures=rendering.figures(curves),
            breakdown=rendering.bars(breakdown, primary(benchmark)),
            gallery=gallery,
            quirks=[(name, meanings.get(name, ""), v) for name, v in record.quirks.items()],
            provenance=rendering.provenance(record, evidence),
        )
        # The data's path on the machine that ran it is of no use to a reader.
        names = (f.name for f in dataclasses.fields(record) if f.name != "data_root")
        facts = {name: getattr(record, name) for name in names}
        address = result_page(record).removesuffix(".html") + ".json"
        self._text(address, orjson.dumps(facts, option=_JSON).decode())
        return gallery

    def _method(self, page: str, records: list[Record], galleries: Mapping[str, Gallery]) -> None:
        """Write the page of one method."""
        first = records[0]
        done = [record for record in records if record.status == "done"]
        curves: dict[tuple[Any, ...], tuple[Record, list[Curve]]] = {}
        for record in newest(done):
            for curve in rendering.evidence_curves(self.evidence(record))[:1]:
                name = f"{record.variant or record.method}: {curve.name}"
                lines = curves.setdefault(section_key(record), (record, []))[1]
                lines.append(dataclasses.replace(curve, name=name))
        drawn = [record for record in done if galleries[record.id].pictures]
        shown = max(drawn, key=lambda r: (not r.synthetic, r.created_at, r.id), default=None)
        self._page(
            "method.html",
            page,
            name=first.method,
            card=self.cards.get(first.method) if first.source == "run" else None,
            rows=[measured_row(self.benchmarks[r.benchmark], r, self.cards) for r in records],
            benchmarks=self.benchmarks,
            figures=[
                (record, figure)
                for record, lines in curves.values()
                for figure in rendering.figures(lines)
            ],
            shown=shown,
            gallery=galleries[shown.id] if shown else Gallery(),
            commands=list(dict.fromkeys(r.command for r in reversed(records) if r.command)),
        )

    def _truth(self, benchmark: Benchmark, record: Record) -> Truth:
        key = (benchmark.name, record.data_root, record.split)
        if key not in self.truths:
            self.truths[key] = Truth(benchmark, record)
        return self.truths[key]

    def _page(self, template: str, address: str, **values: Any) -> None:
        root = "../" * address.count("/")
        html = self.templates.get_template(template).render(root=root, **values)
        self._text(address, html)

    def _text(self, address: str, text: str) -> None:
        (self.root / address).write_text(text, encoding="utf-8")


def _known(get: Callable[[str], Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what is registered, by name; what a removed plug-in made may be left out."""
    found = {}
    for name in sorted(names):
        try:
            found[name] = get(name)
        except PrerequisiteError:
            continue
    return found


def _order(record: Record) -> tuple[Any, ...]:
    """Order the records of method pages: by page, benchmark, real before embedded, variant."""
    when = (record.created_at, record.id)
    return (method_page(record), record.benchmark, record.synthetic, record.variant, *when)
