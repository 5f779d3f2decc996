"""``harness compare``: on the terminal, as JSON and as a page."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from harness import registry
from harness.api import PrerequisiteError
from harness.cli import app
from harness.comparison import compare, find_results
from harness.evaluation import DRAWS
from harness.records.store import Store
from harness.workspace import Workspace
from reports.comparison import comparison_page

FIRST, SECOND = "hrnet:nano", "mean-pose:nano"


@pytest.fixture(scope="module")
def workspace(leaderboard, tmp_path_factory):
    """The leaderboard's results as a workspace."""
    space = Workspace(tmp_path_factory.mktemp("workspace"))
    shutil.copytree(leaderboard.folder / "results", space.root / "results")
    store = Store(space.store_url)
    for run in {record.run_id for record in leaderboard.records}:
        store.begin_run(run, "coco", "")
    for record in leaderboard.records:
        store.write(record)
    store.close()
    return space


def cli(workspace, *arguments: str) -> str:
    command = ["compare", *arguments, "--workspace", str(workspace.root)]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def found(leaderboard, *names: str):
    records = find_results(leaderboard.records, names)
    return compare(records, leaderboard.evidence, registry.benchmark("coco"))


def test_differences_are_those_of_paired_draws(leaderboard):
    comparison = found(leaderboard, FIRST, SECOND)
    (ap,) = [d for d in comparison.differences if d.metric == "AP"]
    first, second = comparison.records
    assert (first.name, second.name) == (FIRST, SECOND)
    assert ap.value == first.metrics["AP"] - second.metrics["AP"]
    drawn = leaderboard.evidence(first).draws()["AP"] - leaderboard.evidence(second).draws()["AP"]
    assert len(drawn) == DRAWS
    assert (ap.low, ap.high) == tuple(np.percentile(drawn, [2.5, 97.5]))
    assert ap.low > 0
    assert ap.p < 0.001
    assert ap.p_holm == ap.p  # of one pair


def test_several_pairs_are_corrected_together(leaderboard):
    comparison = found(leaderboard, FIRST, SECOND, "simplebaseline:nano")
    aps = [d for d in comparison.differences if d.metric == "AP"]
    assert [(d.first, d.second) for d in aps] == [(0, 1), (0, 2), (1, 2)]
    smallest = min(aps, key=lambda d: d.p)
    assert smallest.p_holm == 3 * smallest.p


def test_samples_that_differ_most_come_first(leaderboard):
    comparison = found(leaderboard, FIRST, SECOND)
    contrasts = comparison.contrasts(0, 1, most=5)
    every = np.sort(np.abs(comparison.scores[0] - comparison.scores[1]))[::-1]
    assert [abs(c.difference) for c in contrasts] == every[:5].tolist()
    scores = leaderboard.evidence(comparison.records[0]).per_sample()
    place = scores["sample_id"].tolist().index(contrasts[0].sample_id)
    assert contrasts[0].first == scores["oks"][place]


def test_other_protocols_and_data_are_refused(leaderboard):
    """Boxes of a detector are another protocol, embedded data is other data."""
    with pytest.raises(PrerequisiteError, match="cannot be compared") as refusal:
        find_results(leaderboard.records, ["hrnet:w32-256x192", "hrnet:w48-256x192"])
    assert "ground truth" in str(refusal.value)
    assert "detections sha256" in str(refusal.value)
    with pytest.raises(PrerequisiteError, match="embedded-val"):
        find_results(leaderboard.records, ["hrnet:w32-256x192", "hrnet:nano"])
    part = dataclasses.replace(leaderboard.records[0], id="f" * 64, limit=3, method="part")
    with pytest.raises(PrerequisiteError, match="first 3 samples"):
        find_results([*leaderboard.records, part], ["part:nano", "hrnet:nano"])
    with pytest.raises(PrerequisiteError, match="cannot be compared"):
        compare([part, leaderboard.records[1]], leaderboard.evidence, registry.benchmark("coco"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("hrnet:nano", "nobody"), "No finished result is named 'nobody'"),
        (("hrnet:w32-256x192", "hrnet:w48-384x288"), "skipped: The weights are not on this"),
        (("hrnet:nano", "hrnet:nano"), "name one result twice"),
    ],
)
def test_wrong_names_are_explained(leaderboard, names, message):
    with pytest.raises(PrerequisiteError, match=re.escape(message)):
        find_results(leaderboard.records, names)


def test_ids_and_the_newest_result_of_a_method(leaderboard):
    old = leaderboard.records[1]
    newer = dataclasses.replace(
        old, id="e" * 64, created_at=leaderboard.records[-1].created_at, run_id="later"
    )
    records = [*leaderboard.records, newer]
    assert find_results(records, [old.name, FIRST])[0] == newer
    assert find_results(records, [old.id[:10], FIRST])[0] == old
    twin = dataclasses.replace(newer, id=old.id[:12] + "0" * 52)
    with pytest.raises(PrerequisiteError, match="Give more digits"):
        find_results([*records, twin], [old.id[:10], FIRST])


def test_several_ways_to_compare_need_a_choice(leaderboard):
    other = [
        dataclasses.replace(r, id=f"{i}" * 64, benchmark="crowdpose")
        for i, r in enumerate(leaderboard.records[:3])
    ]
    records = [*leaderboard.records, *other]
    with pytest.raises(PrerequisiteError, match="in several ways"):
        find_results(records, [FIRST, SECOND])
    chosen = find_results(records, [FIRST, SECOND], "crowdpose")
    assert {record.benchmark for record in chosen} == {"crowdpose"}


def test_lost_evidence_is_named(leaderboard, tmp_path):
    from harness.records.record import Evidence

    records = find_results(leaderboard.records, [FIRST, SECOND])
    with pytest.raises(PrerequisiteError, match=r"is gone: .*draws\.npy"):
        compare(records, lambda record: Evidence(tmp_path), registry.benchmark("coco"))


def test_the_terminal_shows_differences_and_samples(workspace):
    text = cli(workspace, FIRST, SECOND)
    assert "hrnet:nano less mean-pose:nano" in text
    assert "95 % interval" in text
    assert "< 0.001" in text
    assert "Samples that differ most (oks)" in text


def test_json_holds_every_metric(workspace, leaderboard):
    document = json.loads(cli(workspace, FIRST, SECOND, "--json"))
    record = find_results(leaderboard.records, [FIRST])[0]
    assert document["results"][0] == {
        "name": FIRST,
        "id": record.id,
        "metrics": {k: v for k, v in record.metrics.items() if v is not None},
    }
    metrics = [row["metric"] for row in document["differences"]]
    assert metrics == list(document["results"][0]["metrics"])
    assert document["samples"][0]["most_different"][0]["sample_id"]


def test_the_page_needs_no_other_file_and_draws_every_sample(workspace, tmp_path):
    file = tmp_path / "page.html"
    assert str(file) in cli(workspace, FIRST, SECOND, "simplebaseline:nano", "--html", str(file))
    page = file.read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert not re.search(r"url\(|@import|<script", page)
    dots = re.findall(r'class="dots" d="([^"]*)"', page)
    assert [path.count("M") for path in dots] == [14, 14, 14]
    assert page.count("<circle") == 30


def test_hostile_names_are_inert_on_the_page(leaderboard):
    evil = "<script>alert(1)</script>\"'"
    comparison = found(leaderboard, FIRST, SECOND)
    hostile = dataclasses.replace(
        comparison,
        records=tuple(dataclasses.replace(r, method=evil) for r in comparison.records),
        sample_ids=(evil,) * len(comparison.sample_ids),
    )
    page = comparison_page(hostile)
    assert "<script" not in page
    assert html.escape("<script>alert(1)</script>", quote=False) in page
