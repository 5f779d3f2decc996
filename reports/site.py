"""The leaderboard as a static site: plain files that work from anywhere, also from ``file://``.

    index.html, leaderboard.json
    benchmark/<name>.html, .csv, .json, .tex, .md
    method/<name>.html
    result/<id>.html, result/<id>.json, result/<id>/*.jpg
    published/<table>.html, .csv, .json, .tex, .md
    static/

Addresses depend on names and ids alone, so links stay good from build to build. What has not
changed since an earlier build is not made again (:mod:`reports.staging`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from markupsafe import Markup

from benchmarks.published import PublishedTable, published_tables
from harness.api import Benchmark, Card, Curve, PrerequisiteError
from harness.ranking import rank
from harness.records.record import Evidence, Record
from reports import charts, printed, rendering
from reports.boards import build_board, measured_row, newest, section_key
from reports.drawings import Truth
from reports.exports import board_exports, csv_text, join_leaderboards, published_exports
from reports.gallery import Gallery, draw_gallery
from reports.inputs import benchmark_key, key, record_key, version_key
from reports.staging import Facts, Part, Stage
from reports.tables import Row
from reports.verdicts import comparisons

_MARKER = "leaderboard.json"
_JSON = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
_STATIC = Path(__file__).parent / "static"
_FORMATS = {"csv": "CSV", "json": "JSON", "tex": "LaTeX", "md": "Markdown"}
"""Of every table of a benchmark or a paper, by the ending of its file."""


def build_site(
    records: Sequence[Record],
    evidence: Callable[[Record], Evidence],
    out: Path,
    benchmarks: Callable[[str], Benchmark],
    cards: Callable[[str], Card],
) -> Path:
    """Render records as a site, or bring an earlier one up to date.

    A build that fails leaves the earlier site as it was.

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
    with Stage(out) as stage:
        _Site(stage, records, evidence, benchmarks, cards).write()
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
        stage: Stage,
        records: Sequence[Record],
        evidence: Callable[[Record], Evidence],
        benchmarks: Callable[[str], Benchmark],
        cards: Callable[[str], Card],
    ) -> None:
        self.stage = stage
        self.evidence = evidence
        published = {name for table in published_tables().values() for name in table.benchmarks}
        self.benchmarks = _known(benchmarks, published | {r.benchmark for r in records})
        self.cards = _known(cards, {r.method for r in records if r.source == "run"})
        self.records = sorted(
            (r for r in records if r.benchmark in self.benchmarks),
            key=lambda r: (r.created_at, r.id),
        )
        self.hidden = sorted({r.benchmark for r in records} - set(self.benchmarks))
        self.truths: dict[tuple[str, str, str], Truth] = {}
        self.protocols: dict[str, Markup] = {}
        self.templates = rendering.environment(
            slug=slug, method_page=method_page, result_page=result_page
        )
        self.keys = {name: benchmark_key(b) for name, b in self.benchmarks.items()}
        cards_keys = {name: key(card.model_dump_json()) for name, card in self.cards.items()}
        for record in self.records:
            card = cards_keys.get(record.method) if record.source == "run" else None
            own = record_key(record, evidence(record))
            self.keys[record.id] = f"{own}-{self.keys[record.benchmark]}-{card}"

    def write(self) -> None:
        """Bring every part of the site up to date."""
        of: dict[str, list[Record]] = {name: [] for name in self.benchmarks}
        for record in self.records:
            of[record.benchmark].append(record)
        boards = [
            self._part(
                f"benchmark {name}", [name, *(r.id for r in own)], partial(self._board, name, own)
            )
            for name, own in of.items()
        ]
        others = [self._part("listings", [], self._listings)]
        for file in sorted(_STATIC.iterdir()):
            others.append(self._part(f"static {file.name}", [], partial(self._static, file)))
        for table in published_tables().values():
            make = partial(self._published, table)
            others.append(self._part(f"published {table.id}", list(table.benchmarks), make))
        ordered = sorted(self.records, key=_order)
        for page, group in itertools.groupby(ordered, key=method_page):
            records = list(group)
            make = partial(self._method, page, records)
            others.append(self._part(page, [r.id for r in records], make))
        for record in self.records:
            make = partial(self._result, record)
            others.append(self._part(f"result {record.id}", [record.id], make))
        # Boards take longest, so they begin first.
        cards = self.stage.parts([*boards, *others])[: len(boards)]
        everything = [*self.benchmarks, *(r.id for r in self.records)]
        self.stage.parts(
            [
                self._part("leaderboard", everything, self._leaderboard),
                self._part("home", [*everything, *self.hidden], partial(self._home, cards)),
            ]
        )

    def _part(self, name: str, inputs: Sequence[str], make: Callable[[], Facts]) -> Part:
        """Return a part of the site, made of inputs: records, benchmarks, other texts."""
        keys = [self.keys.get(one, one) for one in inputs]
        # Most parts are of one record, whose key is a digest already.
        digest = keys[0] if len(keys) == 1 else key(*keys)
        return name, f"{version_key()}-{digest}", make

    def _static(self, file: Path) -> None:
        self.stage.write(f"static/{file.name}", file.read_bytes())

    def _result(self, record: Record) -> None:
        """Write the page and the data of one result."""
        benchmark = self.benchmarks[record.benchmark]
        evidence = self.evidence(record)
        name = slug(record.id)
        gallery, curves, breakdown, errors = Gallery(), [], {}, None
        if record.status == "done":
            folder = self.stage.path(f"result/{name}")
            gallery = draw_gallery(record, evidence, benchmark, self._truth, folder)
            for picture in gallery.pictures:
                self.stage.claim(f"result/{picture.file}")
            curves = charts.curve_figures(charts.stored_curves(evidence))
            breakdown = charts.stored_breakdown(evidence)
            errors = charts.error_analysis(charts.stored_errors(evidence), benchmark)
        row = measured_row(benchmark, record, self.cards, columns=())
        self._page(
            "result.html",
            result_page(record),
            record=record,
            benchmark=benchmark,
            row=row,
            metrics=rendering.metric_rows(record, benchmark.columns),
            others=rendering.metric_rows(record, rendering.other_columns(benchmark, record)),
            compared=comparisons(benchmark, record, row.verdict) if row.verdict else [],
            figures=curves,
            breakdown=rendering.bars(breakdown, benchmark.ranked_by(record.protocol)),
            errors=errors,
            gallery=gallery,
            protocol=self._protocol(benchmark, record),
            provenance=rendering.provenance(record, evidence),
        )
        # The data's path on the machine that ran it is of no use to a reader.
        names = (f.name for f in dataclasses.fields(record) if f.name != "data_root")
        facts = {name: getattr(record, name) for name in names}
        self.stage.write(f"result/{name}.json", orjson.dumps(facts, option=_JSON))

    def _protocol(self, benchmark: Benchmark, record: Record) -> Markup:
        """Return the list of a protocol's quirks; the same for all its results."""
        name = key(benchmark.name, record.protocol, dict(record.quirks))
        if name not in self.protocols:
            known = benchmark.protocols.get(record.protocol)
            meanings = known.meanings() if known else {}
            quirks = [(name, meanings.get(name, ""), v) for name, v in record.quirks.items()]
            template = self.templates.get_template("protocol.html")
            self.protocols[name] = Markup(template.render(record=record, quirks=quirks))
        return self.protocols[name]

    def _method(self, page: str, records: list[Record]) -> None:
        """Write the page of one method."""
        first = records[0]
        card = self.cards.get(first.method) if first.source == "run" else None
        done = [record for record in records if record.status == "done"]
        curves: dict[tuple[Any, ...], tuple[Record, list[Curve]]] = {}
        for record in newest(done):
            for curve in charts.stored_curves(self.evidence(record))[:1]:
                name = f"{record.variant or record.method}: {curve.name}"
                lines = curves.setdefault(section_key(record), (record, []))[1]
                lines.append(dataclasses.replace(curve, name=name))
        figures = [
            (record, figure)
            for record, lines in curves.values()
            if len(lines) > 1  # a single curve is on the page of its result
            for figure in charts.curve_figures(lines)
        ]
        self._page(
            "method.html",
            page,
            name=first.method,
            card=card,
            citation=rendering.bibtex(card) if card and card.paper else "",
            rows=[self._short_row(record) for record in records],
            benchmarks=self.benchmarks,
            figures=figures,
            commands=list(dict.fromkeys(r.command for r in reversed(records) if r.command)),
        )

    def _short_row(self, record: Record) -> Row:
        """Return a result's row with the metric that ranks alone."""
        benchmark = self.benchmarks[record.benchmark]
        column = benchmark.ranked_by(record.protocol)
        return measured_row(benchmark, record, self.cards, columns=(column,))

    def _board(self, name: str, records: list[Record]) -> Facts:
        """Write the page and the data of one benchmark; return its card on the home page."""
        benchmark = self.benchmarks[name]
        address = slug(name)
        board = build_board(
            benchmark, records, self.cards, rank(newest(records), self.evidence, benchmark)
        )
        figures = charts.board_figures(board, self.evidence)
        self._page(
            "benchmark.html",
            f"benchmark/{address}.html",
            board=board,
            figures=figures,
            files=_FORMATS,
        )
        for ending, text in board_exports(board).items():
            self.stage.write(f"benchmark/{address}.{ending}", text)
        return rendering.home_card(board, f"benchmark/{address}.html")

    def _published(self, table: PublishedTable) -> None:
        known = {n: self.benchmarks[n] for n in table.benchmarks if n in self.benchmarks}
        self._page(
            "published.html",
            f"published/{table.id}.html",
            table=table,
            headers=printed.printed_headers(table, known),
            blocks=printed.blocks(table),
            benchmarks=known,
            files=_FORMATS,
        )
        for ending, text in published_exports(table, known).items():
            self.stage.write(f"published/{table.id}.{ending}", text)

    def _listings(self) -> None:
        for listing in printed.listings():
            self._page("listing.html", f"published/{listing.id}.html", listing=listing)
            self.stage.write(
                f"published/{listing.id}.csv", csv_text([listing.names, *listing.rows])
            )

    def _leaderboard(self) -> None:
        """Join the data of all benchmarks; each was written by its own part."""
        files = [f"benchmark/{slug(name)}.json" for name in self.benchmarks]
        self.stage.write(_MARKER, join_leaderboards([self.stage.read(file) for file in files]))

    def _home(self, cards: Sequence[Facts]) -> None:
        self._page(
            "index.html",
            "index.html",
            cards=sorted((card for card in cards if card), key=lambda card: card["place"]),
            runs=rendering.runs(self.records),
            tables=published_tables().values(),
            listings=printed.listings(),
            hidden=self.hidden,
        )

    def _truth(self, benchmark: Benchmark, record: Record) -> Truth:
        known = (benchmark.name, record.data_root, record.split)
        if known not in self.truths:
            self.truths[known] = Truth(benchmark, record)
        return self.truths[known]

    def _page(self, template: str, address: str, **values: Any) -> None:
        root = "../" * address.count("/")
        html = self.templates.get_template(template).render(root=root, **values)
        self.stage.write(address, html)


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
