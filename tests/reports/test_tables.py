"""Boards: the direction of a metric, what is best, and how numbers are printed."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest
from site_pages import Page

from benchmarks.published import published_tables
from harness import registry
from harness.api import Column
from harness.records.record import Evidence
from reports.boards import build_board, newest
from reports.exports import board_csv
from reports.printed import printed_headers
from reports.rendering import bars, grouped
from reports.site import build_site
from reports.tables import MISSING, show


@pytest.fixture
def errors():
    """A benchmark whose columns are errors in millimetres, in two groups."""
    coco = registry.benchmark("coco")

    class Errors(type(coco)):
        name = "errors"
        title = "Errors"
        columns = (
            Column("walk", "Walk", group="By action", higher_is_better=False),
            Column("sit", "Sit", group="By action", higher_is_better=False),
            Column("mean", "Mean", higher_is_better=False, decimals=2),
        )
        primary = "mean"

    return Errors()


def record(leaderboard, variant: str, **metrics: float | None):
    first = leaderboard.records[3]
    changes = {"benchmark": "errors", "variant": variant, "metrics": metrics, "intervals": {}}
    return dataclasses.replace(first, id=variant.encode().hex().zfill(64), **changes)


def test_rows_of_an_error_come_smallest_first_and_missing_last(leaderboard, errors):
    records = [
        record(leaderboard, "worse", walk=50.0, sit=70.0, mean=60.0),
        record(leaderboard, "none", walk=None, sit=None, mean=None),
        record(leaderboard, "better", walk=52.0, sit=66.0, mean=59.0),
    ]
    (section,) = build_board(errors, records, {}).kind("measured")
    (group,) = section.groups
    assert [row.variant for row in group.rows] == ["better", "worse", "none"]
    best = {row.variant: {n for n, cell in row.cells.items() if cell.best} for row in group.rows}
    assert best == {"better": {"sit", "mean"}, "worse": {"walk"}, "none": set()}
    assert section.best("mean").variant == "better"
    assert [cell.text for cell in group.rows[2].cells.values()][-3:] == [MISSING] * 3


def test_a_protocol_with_a_metric_of_its_own_orders_its_rows_by_it(leaderboard):
    benchmark = registry.benchmark("h36m")
    errors = {"one": (50.0, 40.0), "two": (60.0, 30.0)}
    records = [
        dataclasses.replace(
            record(leaderboard, f"{name}-{protocol}", mpjpe=mpjpe, pa_mpjpe=pa_mpjpe),
            benchmark="h36m",
            split="test",
            protocol=protocol,
            protocol_digest=benchmark.protocol(protocol).digest,
        )
        for protocol in ("martinez-p1", "martinez-p2")
        for name, (mpjpe, pa_mpjpe) in errors.items()
    ]
    sections = build_board(benchmark, records, {}).kind("measured")
    orders = {s.facts[-1]: [row.variant[:3] for row in s.groups[0].rows] for s in sections}
    assert orders == {
        "ordered by MPJPE (mm) Avg.": ["one", "two"],
        "ordered by PA-MPJPE (mm) Avg.": ["two", "one"],
    }


def test_grouped_headers_span_their_columns(leaderboard, errors, tmp_path):
    records = [record(leaderboard, "only", walk=50.0, sit=70.0, mean=60.0)]
    assert grouped(errors.columns) == [("By action", 2), ("", 1)]
    page = build_site(
        records,
        lambda r: Evidence(tmp_path / r.id),
        tmp_path / "site",
        lambda name: errors if name == "errors" else registry.benchmark(name),
        registry.method_card,
    )
    board = Page(page.parent / "benchmark" / "errors.html")
    (name,) = [n for n in board.sections if n.startswith("measured")]
    groups, header, row = board.sections[name]
    assert groups == ["", "Cost", "By action", "Accuracy"]
    assert header[-3:] == ["Walk", "Sit", "Mean"]
    assert row[-3:] == ["50.0", "70.0", "60.00"]
    assert 'colspan="2">By action</th>' in board.text


def test_one_row_is_the_best_but_is_not_marked(leaderboard, errors):
    board = build_board(errors, [record(leaderboard, "only", mean=60.0)], {})
    (section,) = board.sections
    assert not section.groups[0].rows[0].cells["mean"].best
    assert section.best("mean").variant == "only"
    assert section.best("walk") is None


@pytest.mark.parametrize(
    ("changes", "together"),
    [
        ({}, True),
        ({"protocol_digest": "0" * 64}, False),
        ({"dataset_digest": "0" * 64}, False),
        ({"limit": 5}, False),
        ({"synthetic": True}, False),
        ({"split": "train2017"}, False),
    ],
)
def test_what_may_share_a_section(leaderboard, errors, changes, together):
    first = record(leaderboard, "a", mean=1.0)
    second = dataclasses.replace(record(leaderboard, "b", mean=2.0), **changes)
    sections = build_board(errors, [first, second], {}).sections
    assert len(sections) == (1 if together else 2)
    assert len({section.id for section in sections}) == len(sections)


def test_a_newer_failure_stands_beside_the_result_and_an_older_one_does_not(leaderboard):
    done = record(leaderboard, "a", mean=1.0)
    failed = dataclasses.replace(done, id="f" * 64, status="failed", reason="no", metrics={})
    later = done.created_at.replace(year=2030)
    assert newest([done, dataclasses.replace(failed, created_at=later)])[0] is done
    assert len(newest([done, dataclasses.replace(failed, created_at=later)])) == 2
    assert newest([failed, dataclasses.replace(done, created_at=later)])[0].status == "done"
    assert len(newest([failed, dataclasses.replace(done, created_at=later)])) == 1
    other = dataclasses.replace(done, id="d" * 64, weights_sha256="0" * 64)
    assert len(newest([done, other])) == 2


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        (0.74352, Column("AP", "AP", 100.0), "74.4"),
        (0.0, Column("AP", "AP", 100.0), "0.0"),
        (1234.56, Column("mm", "mm", decimals=2), "1,234.56"),
        (None, Column("AP", "AP"), MISSING),
        (float("nan"), Column("AP", "AP"), MISSING),
        (float("inf"), Column("AP", "AP"), MISSING),
    ],
)
def test_values_are_printed_as_the_column_says(value, column, text):
    assert show(value, column) == text


def test_bars_are_drawn_against_100_for_shares_and_the_largest_for_errors():
    share = Column("AP", "AP", 100.0)
    (low, high, none) = bars({"joint": {"a": 0.25, "b": 0.5, "c": None}}, share)["joint"]
    assert [(b.text, b.share) for b in (low, high, none)] == [
        ("25.0", 25.0),
        ("50.0", 50.0),
        (MISSING, 0.0),
    ]
    error = Column("mm", "mm", higher_is_better=False)
    assert [b.share for b in bars({"x": {"a": 20.0, "b": 80.0}}, error)["x"]] == [25.0, 100.0]


def test_two_bound_columns_with_one_header_keep_their_printed_names():
    coco = registry.benchmark("coco")
    table = published_tables()["coco-val-hrnet"]
    assert printed_headers(table, {"coco": coco})["params_m"] == "#Params"
    assert printed_headers(table, {"coco": coco})["ap"] == "AP"
    detectors = published_tables()["cpn-detectors"]
    headers = printed_headers(detectors, {"coco": coco, "coco-person": coco})
    assert headers["det_ap_human"] == "det ap human"
    assert headers["keypoint_ap"] == "keypoint ap"


def test_csv_has_three_fields_per_number(leaderboard, errors):
    row = record(leaderboard, "a", mean=61.5)
    row = dataclasses.replace(row, intervals={"mean": (60.25, 62.0)})
    (cells,) = csv.DictReader(board_csv(build_board(errors, [row], {})).splitlines())
    assert (cells["mean"], cells["mean_low"], cells["mean_high"]) == ("61.5", "60.25", "62.0")
    assert (cells["walk"], cells["kind"]) == ("", "measured")


def test_another_precision_is_a_result_of_its_own_and_marked(leaderboard, tmp_path):
    first = leaderboard.records[3]
    half = dataclasses.replace(
        first,
        id="5" * 64,
        environment={**first.environment, "precision": "bf16"},
        profile={**first.profile, "peak_memory_mb": 321.4},
    )
    single = dataclasses.replace(first, environment={**first.environment, "precision": "fp32"})
    assert len(newest([single, half])) == 2
    board = build_board(registry.benchmark("coco"), [single, half], {})
    (section,) = board.kind("measured")
    rows = {row.record.id: row for row in section.groups[0].rows}
    assert (rows[half.id].marks, rows[first.id].marks) == (("bf16",), ())
    assert rows[half.id].cells["memory_mb"].text == "321"
    assert [line["marks"] for line in csv.DictReader(io.StringIO(board_csv(board)))][:2] == [
        row.marks[0] if row.marks else "" for row in section.groups[0].rows
    ]
    out = build_site(
        [single, half],
        leaderboard.evidence,
        tmp_path / "out",
        registry.benchmark,
        registry.method_card,
    ).parent
    mark = '<span class="mark">bf16</span>'
    for page in ("benchmark/coco.html", "method/hrnet.html", f"result/{half.id}.html"):
        text = (out / page).read_text(encoding="utf-8")
        # The page of a benchmark explains the mark below its table.
        assert text.count(mark) == 1 + page.startswith("benchmark")
    assert mark not in (out / f"result/{first.id}.html").read_text(encoding="utf-8")
