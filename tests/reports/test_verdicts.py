"""Measured against published: what counts as reproduced, and what cannot be compared."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.published import published_tables
from harness import registry
from harness.api.card import Variant
from reports.boards import build_board, measured_row
from reports.charts import _published_beside
from reports.verdicts import comparisons, published_row, verdict

PRINTED = 0.744  # HRNet-W32, 256x192 in Table 1 of its paper


@pytest.fixture
def detected(leaderboard):
    """A result of the variant whose published AP is 74.4, on boxes of a detector."""
    record = leaderboard.records[5]
    return dataclasses.replace(record, method="hrnet", variant="w32-256x192")


def judge(record, value: float, low: float, high: float):
    record = dataclasses.replace(record, metrics={"AP": value}, intervals={"AP": (low, high)})
    variant = registry.method_card("hrnet").variant(record.variant)
    return verdict(registry.benchmark("coco"), record, variant)


@pytest.mark.parametrize(
    ("value", "low", "high", "word"),
    [
        (0.744, 0.73, 0.75, "reproduced"),
        (0.749, 0.744, 0.754, "reproduced"),
        (0.7488, 0.7444, 0.754, "reproduced"),  # 74.4 stands for 74.35 to 74.45
        (0.7490, 0.7446, 0.754, "above"),
        (0.7400, 0.7360, 0.7434, "below"),
        (0.7400, 0.7360, 0.7436, "reproduced"),
    ],
)
def test_reproduced_means_that_the_interval_holds_the_printed_number(
    detected, value, low, high, word
):
    found = judge(detected, value, low, high)
    assert found.word == word
    assert found.reasons == ()
    assert found.main.published.text == "74.4"
    assert found.main.delta == pytest.approx(100 * (value - PRINTED))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"synthetic": True}, "embedded"),
        ({"split": "train2017"}, "split is val"),
        ({"limit": 100}, "first 100 samples"),
        ({"quirks": {"box_source": "ground truth"}}, "boxes from the ground truth"),
        ({"protocol": "another"}, "protocol another"),
    ],
)
def test_other_protocols_are_named_and_never_judged(detected, changes, reason):
    found = judge(dataclasses.replace(detected, **changes), 0.744, 0.73, 0.75)
    assert found.word == "other protocol"
    assert any(reason in text for text in found.reasons)


def test_variants_without_published_row_are_not_compared(leaderboard, detected):
    assert published_row(Variant(input_size=(1, 1))) is None
    assert judge(dataclasses.replace(detected, variant="nano"), 0.7, 0.6, 0.8) is None
    assert judge(dataclasses.replace(detected, status="failed"), 0.7, 0.6, 0.8) is None
    row = measured_row(registry.benchmark("coco"), leaderboard.records[0], {})
    assert row.verdict is None


def test_every_metric_of_the_papers_table_is_compared(detected):
    benchmark = registry.benchmark("coco")
    detected = dataclasses.replace(detected, metrics={c.metric: 0.5 for c in benchmark.columns})
    variant = registry.method_card("hrnet").variant("w32-256x192")
    found = verdict(benchmark, detected, variant)
    row = published_tables()["coco-val-hrnet"].find(
        method="HRNet-W32", pretrain=True, input_size="256x192"
    )[0]
    shown = {c.column.metric: c.published.text for c in comparisons(benchmark, detected, found)}
    assert shown == {
        "AP": row.printed["ap"],
        "AP50": row.printed["ap50"],
        "AP75": row.printed["ap75"],
        "AP_M": row.printed["ap_m"],
        "AP_L": row.printed["ap_l"],
        "AR": row.printed["ar"],
    }


def test_a_board_shows_the_verdict_and_the_rank(leaderboard):
    from harness.ranking import rank

    benchmark = registry.benchmark("coco")
    cards = {"hrnet": registry.method_card("hrnet")}
    records = [r for r in leaderboard.records if r.method != "my model"]
    ranks = rank(records, leaderboard.evidence, benchmark)
    board = build_board(benchmark, records, cards, ranks)
    rows = [row for s in board.sections for g in s.groups for row in g.rows if row.record]
    assert any(row.rank for row in rows)
    assert {row.record.id: row.rank for row in rows if row.rank} == ranks
    boxes = {
        row.record.quirks["box_source"].partition(" ")[0]: row.verdict
        for row in rows
        if row.verdict
    }
    assert boxes["detections"].word in ("above", "below", "reproduced")
    assert boxes["ground"].word == "other protocol"


def h36m_record(detected, protocol: str):
    values = {"mpjpe": 62.9, "pa_mpjpe": 47.7}
    return dataclasses.replace(
        detected,
        benchmark="h36m",
        split="test",
        protocol=protocol,
        quirks={"box_source": "ground truth"},
        metrics=values,
        intervals={name: (value - 1, value + 1) for name, value in values.items()},
    )


def test_every_table_of_human36m_names_the_protocol_of_its_numbers():
    known = registry.benchmark("h36m").protocols
    tables = [t for t in published_tables().values() if "h36m" in t.benchmarks]
    assert len(tables) == 17
    for table in tables:
        assert table.our_protocols["h36m"] in known, table.id


def test_every_named_protocol_is_one_of_its_benchmark():
    named = [p for t in published_tables().values() for p in t.our_protocols.items()]
    for benchmark, protocol in named:
        assert protocol in registry.benchmark(benchmark).protocols


@pytest.mark.parametrize("protocol", registry.benchmark("h36m").protocols)
def test_a_number_of_human36m_is_judged_by_tables_of_its_own_protocol_alone(detected, protocol):
    benchmark = registry.benchmark("h36m")
    record = h36m_record(detected, protocol)
    for table in (t for t in published_tables().values() if "h36m" in t.benchmarks):
        row = next(row for row in table.rows if row.values[table.primary] is not None)
        own = {"table": table.id, "method": row.method, **row.descriptors}
        found = verdict(benchmark, record, Variant(input_size=(1, 1), published=own))
        if found is None:  # the table does not state the metric that ranks
            stated = table.bound("h36m").get(benchmark.ranked_by(protocol).metric)
            assert stated is None or row.values[stated.name] is None
            continue
        reason = f"scored under the protocol {protocol}, the paper's is "
        other = [text for text in found.reasons if text.startswith(reason)]
        assert bool(other) == (table.our_protocols["h36m"] != protocol)
        assert not other or found.word == "other protocol"


@pytest.mark.parametrize(
    ("protocol", "beside"), [("martinez-p1", ["h36m-p1-martinez"]), ("mmpose", [])]
)
def test_figures_show_published_numbers_of_the_same_protocol_alone(detected, protocol, beside):
    benchmark = registry.benchmark("h36m")
    board = build_board(benchmark, [h36m_record(detected, protocol)], {})
    for section in board.kind("published"):
        named = {group.table.our_protocols["h36m"] for group in section.groups}
        assert len(named) == 1
    (measured,) = board.kind("measured")
    found = _published_beside(board, measured)
    assert [group.table.id for section in found for group in section.groups] == beside
