"""The site: every row where it belongs, every number as recorded, nothing from outside alive."""

from __future__ import annotations

import csv
import dataclasses
import filecmp
import html
import io
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from site_pages import Page, pages

import benchmarks.published
from benchmarks.published import published_tables
from harness import registry
from harness.api import PrerequisiteError
from harness.records.record import Evidence
from reports.site import build_site, method_page, result_page, slug

DASH = "\N{EN DASH}"
PUBLISHED = Path(benchmarks.published.__file__).parent


@pytest.fixture(scope="module")
def all_pages(site) -> dict[str, Page]:
    return pages(site)


@pytest.fixture(scope="module")
def coco(all_pages) -> Page:
    return all_pages["benchmark/coco.html"]


def copy(leaderboard, **changes):
    """Return the leaderboard with every record changed."""
    records = [dataclasses.replace(record, **changes) for record in leaderboard.records]
    return dataclasses.replace(leaderboard, records=records)


def test_every_published_coco_row_equals_its_csv(coco):
    """Rows in the printed order, cells under the header of the metric they are bound to."""
    shown = {"AP50": "AP 50", "AP75": "AP 75", "AP_M": "AP M", "AP_L": "AP L"}
    shown |= {"AR50": "AR 50", "AR75": "AR 75", "AR_M": "AR M", "AR_L": "AR L"}
    seen = 0
    for table in [t for t in published_tables().values() if "coco" in t.benchmarks]:
        section = f"published-{re.sub('[^a-z0-9]+', '-', table.split)}"
        _, header, *rows = coco.sections[section]
        heading = f"{table.source} {table.title}"
        first = 1 + next(i for i, row in enumerate(rows) if row[0].startswith(heading))
        with (PUBLISHED / f"{table.id}.csv").open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        for line, row in zip(lines, rows[first : first + len(lines)], strict=True):
            cells = dict(zip(header, row, strict=True))
            marks = [flag for flag in ("extra_data", "ensemble") if line.get(flag) == "true"]
            title = " ".join([line["method"], *(mark.replace("_", " ") for mark in marks)])
            assert cells["Method"].startswith(title)
            assert line["citation"] in cells["Method"].removeprefix(title)
            assert ("ensemble" in cells["Method"]) == ("ensemble" in title.lower())
            for metric, column in table.bound("coco").items():
                printed = line[column.name]
                if column.unit == "fraction" and printed:
                    printed = f"{100 * float(printed):.1f}"
                assert cells[shown.get(metric, metric)] == (printed or DASH)
                seen += 1
            for name, title in (("params_m", "#Params"), ("gflops", "GFLOPs")):
                assert cells.get(title, DASH) == (line.get(name) or DASH)
            for name, title in (("backbone", "Backbone"), ("input_size", "Input size")):
                assert cells.get(title, DASH) == (line.get(name) or DASH)
    assert seen == 633


def test_every_published_table_has_its_page_with_every_number(all_pages):
    for table in published_tables().values():
        page = all_pages[f"published/{table.id}.html"]
        body = re.findall(r"<tr class=\"row\">(.*?)</tr>", page.text, re.S)
        assert len(body) == len(table.rows)
        for row, markup in zip(table.rows, body, strict=True):
            numbers = re.findall(r'<td class="number"[^>]*>([^<]*)</td>', markup)
            assert numbers == [row.printed[c.name] or DASH for c in table.columns]
            assert row.printed_as in html.unescape(markup)


def test_embedded_results_are_in_no_section_with_real_ones(leaderboard, coco):
    real = {r.id for r in leaderboard.records if not r.synthetic}
    for section in re.findall(r'<section id="([^"]+)">(.*?)</section>', coco.text, re.S):
        name, markup = section
        ids = set(re.findall(r"result/([0-9a-f]{64})\.html", markup))
        if name.startswith("embedded-"):
            assert ids
            assert not ids & real
        else:
            assert ids <= real
    embedded = coco.text.index('<section class="kind embedded"')
    for record in leaderboard.records:
        assert (coco.text.index(result_page(record)) > embedded) == record.synthetic
    assert "Embedded synthetic data" in coco.text[embedded : embedded + 200]


def test_only_equal_protocol_and_data_share_a_section(leaderboard, coco):
    for name, markup in re.findall(r'<section id="([^"]+)">(.*?)</section>', coco.text, re.S):
        ids = set(re.findall(r"result/([0-9a-f]{64})\.html", markup))
        records = [r for r in leaderboard.records if r.id in ids]
        assert len({(r.protocol_digest, r.dataset_digest, r.limit) for r in records}) <= 1, name
    titles = re.findall(r"<h3>(val2017.*?)</h3>", coco.text)
    assert any("ground-truth person boxes" in title for title in titles)
    assert any("detections file (abababab)" in title for title in titles)
    assert any("made elsewhere" in title for title in titles)


def test_measured_numbers_are_the_recorded_ones(leaderboard, coco):
    (name,) = [n for n in coco.sections if n.startswith("embedded-")]
    _, header, *rows = coco.sections[name]
    records = [r for r in leaderboard.records if r.synthetic]
    records.sort(key=lambda r: -r.metrics["AP"])
    for record, row in zip(records, rows, strict=True):
        cells = dict(zip(header, row, strict=True))
        low, high = (f"{100 * end:.1f}" for end in record.intervals["AP"])
        assert cells["Method"].startswith(registry.method_card(record.method).title)
        assert cells["AP"] == f"{100 * record.metrics['AP']:.1f} {low}{DASH}{high}"
        assert (cells["#Params"], cells["GFLOPs"], cells["MACs"]) == ("28.5", "7.12", "7.65")
    best = re.findall(
        r'<td class="number best"[^>]*>([0-9.]+)<small>', coco.text.split(f'id="{name}"')[1]
    )
    assert best[0] == f"{100 * records[0].metrics['AP']:.1f}"


def test_failed_and_skipped_jobs_are_visible_with_their_reason(leaderboard, coco, all_pages):
    for record in leaderboard.records:
        if record.status != "done":
            assert html.escape(record.reason) in coco.text
            assert record.reason in html.unescape(all_pages[result_page(record)].text)
            assert record.reason in html.unescape(all_pages[method_page(record)].text)


def test_a_value_that_is_missing_is_a_dash(leaderboard, tmp_path):
    first = leaderboard.records[0]
    metrics = {**first.metrics, "AP50": None, "AP75": float("nan")}
    intervals = {**first.intervals, "AP75": (float("nan"), float("nan"))}
    changed = dataclasses.replace(first, metrics=metrics, intervals=intervals)
    board = dataclasses.replace(leaderboard, records=[changed])
    site = board.build(tmp_path / "site")
    page = Page(site / "benchmark" / "coco.html")
    (name,) = [n for n in page.sections if n.startswith("embedded-")]
    _, header, row = page.sections[name]
    cells = dict(zip(header, row, strict=True))
    assert (cells["AP 50"], cells["AP 75"]) == (DASH, DASH)
    assert not re.search(r"\bnan\b", page.text, re.I)
    document = json.loads((site / "leaderboard.json").read_text())
    (board,) = [b for b in document["benchmarks"] if b["name"] == "coco"]
    (section,) = [s for s in board["sections"] if s["kind"] == "embedded"]
    assert section["rows"][0]["values"]["AP75"] is None


def test_no_link_is_dead_and_nothing_is_loaded_from_outside(site, all_pages):
    for name, page in all_pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("http", "https") or link.startswith("data:text/csv;base64,")
                continue
            target = ((site / name).parent / unquote(parts.path)).resolve() if parts.path else None
            assert target is None or target.is_file(), (name, link)
            if parts.fragment:
                ids = page.ids if target is None else Page(target).ids
                assert parts.fragment in ids, (name, link)
        for file in page.loaded:
            if file != "data:,":
                assert not urlsplit(file).scheme
                assert not file.startswith("/")
                assert ((site / name).parent / file).is_file(), (name, file)
        assert len(set(page.ids)) == len(page.ids)
        assert not [pair for pair in page.attributes if pair[1] == "style" or pair[1][:2] == "on"]
    for path in (site / "static").iterdir():
        assert "http" not in path.read_text()
        assert "@import" not in path.read_text()


def test_hostile_texts_are_inert(leaderboard, tmp_path):
    evil = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{ 7 * 7 }}'
    first = leaderboard.records[3]
    record = dataclasses.replace(
        first,
        method=f"../../{evil}",
        variant="=cmd|' /C calc'!A0",
        source="score",
        split=evil,
        protocol=evil,
        quirks={**first.quirks, evil: [evil], "box_source": evil},
        notes={evil: evil},
        environment={evil: evil},
        counts={**first.counts, evil: 3},
        timings={evil: 1.0},
        command=evil,
        run_id=evil,
        metrics={**first.metrics, evil: 0.5},
    )
    failed = dataclasses.replace(record, id="f" * 64, status="failed", reason=evil, metrics={})
    board = dataclasses.replace(leaderboard, records=[record, failed])
    site = board.build(tmp_path / "site")
    everything = pages(site)
    assert any("7 * 7" in page.text for page in everything.values())
    for page in everything.values():
        assert "<script>" not in page.text
        assert "<img src=x" not in page.text
        assert ">49<" not in page.text
        assert not [pair for pair in page.attributes if pair[1].startswith("on")]
    assert all(site in path.resolve().parents for path in site.rglob("*"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["site"]
    rows = list(csv.DictReader(io.StringIO((site / "benchmark" / "coco.csv").read_text())))
    assert "'=cmd|' /C calc'!A0" in [row["variant"] for row in rows]
    for row in rows:
        assert not any((value or "").startswith(("=", "@", "+")) for value in row.values())


def test_a_card_cannot_smuggle_a_script_link(leaderboard, tmp_path):
    card = registry.method_card("hrnet")
    paper = card.paper.model_copy(update={"url": "javascript:alert(1)", "title": "<b>x</b>"})
    evil = card.model_copy(update={"paper": paper, "code": "javascript:alert(2)"})
    records = [r for r in leaderboard.records if r.method == "hrnet"]
    page = build_site(
        records, leaderboard.evidence, tmp_path / "s", registry.benchmark, lambda name: evil
    )
    links = Page(page.parent / "method" / "hrnet.html").links
    assert not [link for link in links if "script" in link]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "HRNet", "", "a/b", "ä", "x" * 300, ".hidden", "con?", "a\x00b"]
)
def test_file_names_are_plain_and_distinct(name):
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", slug(name))
    assert slug(name) != slug(name + "x")
    assert slug(name) == slug(name)


def test_the_same_records_give_the_same_bytes(leaderboard, site, tmp_path):
    shuffled = dataclasses.replace(leaderboard, records=leaderboard.records[::-1])
    again = shuffled.build(tmp_path / "again")
    files = sorted(str(p.relative_to(site)) for p in site.rglob("*") if p.is_file())
    assert files == sorted(str(p.relative_to(again)) for p in again.rglob("*") if p.is_file())
    _, different, missing = filecmp.cmpfiles(site, again, files, shallow=False)
    assert (different, missing) == ([], [])


def test_a_site_replaces_a_site_and_nothing_else(leaderboard, site, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(site, out)
    (out / "stale.html").write_text("old")
    dataclasses.replace(leaderboard, records=leaderboard.records[:1]).build(out)
    assert not (out / "stale.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.txt").write_text("years of work")
    with pytest.raises(PrerequisiteError, match="no leaderboard"):
        leaderboard.build(other)
    assert (other / "chapter1.txt").read_text() == "years of work"


def test_a_build_that_fails_leaves_the_earlier_site(leaderboard, site, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(site, out)

    def broken(record):
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        build_site(leaderboard.records, broken, out, registry.benchmark, registry.method_card)
    _, different, missing = filecmp.cmpfiles(
        site, out, ["index.html", "benchmark/coco.html"], shallow=False
    )
    assert (different, missing) == ([], [])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_site_stays_a_link(leaderboard, site, tmp_path):
    shutil.copytree(site, tmp_path / "served")
    (tmp_path / "link").symlink_to("served")
    build_site(
        leaderboard.records[:1],
        leaderboard.evidence,
        tmp_path / "link",
        registry.benchmark,
        registry.method_card,
    )
    assert (tmp_path / "link").is_symlink()
    assert len(list((tmp_path / "served" / "result").glob("*.html"))) == 1


def test_no_records_give_a_site_of_published_tables(tmp_path):
    page = build_site([], Evidence, tmp_path / "s", registry.benchmark, registry.method_card)
    assert "76.3" in page.read_text()
    assert "Nothing measured here yet" in page.read_text()


def test_results_of_a_benchmark_that_is_gone_are_announced(leaderboard, tmp_path):
    site = copy(leaderboard, benchmark="gone-bench").build(tmp_path / "site")
    assert "gone-bench" in (site / "index.html").read_text()
    assert not (site / "result").exists()


def test_the_machine_readable_leaderboard(leaderboard, site):
    document = json.loads((site / "leaderboard.json").read_text())
    assert (document["schema"], document["version"]) == ("pose-harness/leaderboard", 1)
    rows = {}
    for benchmark in document["benchmarks"]:
        for section in benchmark["sections"]:
            for row in section["rows"]:
                if "result" in row:
                    assert (section["kind"] == "embedded") == (
                        next(r for r in leaderboard.records if r.id == row["result"]).synthetic
                    )
                    rows[row["result"]] = row
    assert set(rows) == {record.id for record in leaderboard.records}
    for record in leaderboard.records:
        assert rows[record.id]["status"] == record.status
        if record.status == "done":
            value = rows[record.id]["values"]["AP"]
            assert value["value"] == pytest.approx(100 * record.metrics["AP"], rel=1e-15)
    lines = list(csv.DictReader((site / "benchmark" / "coco.csv").open(newline="")))
    assert {line["result"] for line in lines if line["result"]} == set(rows)
    printed = [line for line in lines if line["table"] == "coco-val-hrnet"]
    assert [float(line["AP"]) for line in printed][-1] == 76.3
    facts = json.loads(
        (site / result_page(leaderboard.records[0]).replace("html", "json")).read_text()
    )
    assert facts["metrics"] == leaderboard.records[0].metrics
    assert "data_root" not in facts


def test_an_older_result_gives_way_but_stays_on_the_method_page(leaderboard, tmp_path):
    old = leaderboard.records[2]
    new = dataclasses.replace(old, id="e" * 64, created_at=old.created_at.replace(year=2026))
    board = dataclasses.replace(leaderboard, records=[old, new])
    shutil.copytree(board.evidence(old).folder, board.evidence(new).folder, dirs_exist_ok=True)
    site = board.build(tmp_path / "site")
    page = (site / "benchmark" / "coco.html").read_text()
    assert result_page(new) in page
    assert result_page(old) not in page
    assert "1 earlier result on the method pages" in page
    assert result_page(old) in (site / method_page(old)).read_text()


def test_pages_say_what_is_missing_when_the_workspace_was_cleaned(leaderboard, tmp_path):
    board = dataclasses.replace(leaderboard, folder=tmp_path / "empty")
    site = board.build(tmp_path / "site")
    text = (site / result_page(leaderboard.records[0])).read_text()
    assert "no longer in the workspace" in text
    assert f"{100 * leaderboard.records[0].metrics['AP']:.1f}" in text
    assert not list(site.rglob("*.jpg"))
