"""Incremental builds: nothing is made twice, nothing stale stays, a failure changes nothing."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from harness.api import PrerequisiteError
from reports.site import method_page, result_page
from reports.staging import Stage


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def build(out: Path, parts: dict[str, tuple[str, dict[str, str]]]) -> tuple[list[str], list]:
    """Build parts ``{name: (key, {address: text})}``; return which were made, and their facts."""
    made = []
    with Stage(out) as stage:

        def make(name, files):
            made.append(name)
            for address, text in files.items():
                stage.write(address, text)
            return {"name": name}

        facts = stage.parts(
            [(name, key, partial(make, name, files)) for name, (key, files) in parts.items()]
        )
    return made, facts


def test_only_parts_with_other_inputs_are_made_again(tmp_path):
    out = tmp_path / "out"
    parts = {"a": ("1", {"x/a.html": "A"}), "b": ("1", {"x/b.html": "B", "b.csv": "b"})}
    assert build(out, parts) == (["a", "b"], [{"name": "a"}, {"name": "b"}])
    assert build(out, parts) == ([], [{"name": "a"}, {"name": "b"}])
    parts["b"] = ("2", {"x/b.html": "B2"})
    assert build(out, parts)[0] == ["b"]
    assert {k: v for k, v in contents(out).items() if k != "pages.json"} == {
        "x/a.html": b"A",
        "x/b.html": b"B2",
    }
    assert build(out, {"b": parts["b"]})[0] == []
    assert sorted(contents(out)) == ["pages.json", "x/b.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_part_whose_file_is_gone_is_made_again(tmp_path):
    out = tmp_path / "out"
    parts = {"a": ("1", {"folder/a.html": "A"}), "b": ("1", {"b.html": "B"})}
    build(out, parts)
    shutil.rmtree(out / "folder")
    assert build(out, parts)[0] == ["a"]
    assert (out / "folder" / "a.html").read_text() == "A"


@pytest.mark.parametrize("damage", ["", "not JSON", "[]", '{"a": {"unknown": 1}}', '{"a": 3}'])
def test_damaged_keys_only_cost_time(tmp_path, damage):
    out = tmp_path / "out"
    parts = {"a": ("1", {"a.html": "A"})}
    build(out, parts)
    (out / "pages.json").write_text(damage)
    assert build(out, parts)[0] == ["a"]
    assert build(out, parts)[0] == []


def test_a_build_that_fails_changes_nothing(tmp_path):
    out = tmp_path / "out"
    build(out, {"a": ("1", {"a.html": "A"})})
    before = contents(out)

    def fail():
        with Stage(out) as stage:
            write = partial(stage.write, "a.html", "A2")
            stage.parts([("a", "2", write), ("b", "1", lambda: 1 / 0)])

    with pytest.raises(ZeroDivisionError):
        fail()
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


MANY = """
import sys
from functools import partial
from pathlib import Path
from reports.staging import Stage

out, fail = Path(sys.argv[1]), int(sys.argv[2])

def make(stage, number):
    stage.write(f"{number % 7}/{number}.html", f"page {number}")
    return {"number": number, "wrong": 1 // (number != fail)}

with Stage(out) as stage:
    facts = stage.parts([(f"p{n}", "1", partial(make, stage, n)) for n in range(500)])
assert [f["number"] for f in facts] == list(range(500))
assert not stage._written  # other processes made the pages
"""


def test_many_parts_are_made_by_several_processes(tmp_path):
    """In a process of its own, for one with threads makes everything itself."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")

    def run(fail):
        command = [sys.executable, "-c", MANY, str(tmp_path / "out"), str(fail)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    broken = run(fail=321)
    assert "ZeroDivisionError" in broken.stderr
    assert list(tmp_path.iterdir()) == []
    done = run(fail=-1)
    assert done.returncode == 0, done.stderr
    made = contents(tmp_path / "out")
    assert len(made) == 501
    assert all(made[f"{n % 7}/{n}.html"] == f"page {n}".encode() for n in range(500))


def test_files_that_no_part_claims_do_not_come_along(tmp_path):
    out = tmp_path / "out"
    for key in ("1", "2"):
        with Stage(out) as stage:

            def make(stage=stage):
                folder = stage.path("pictures")
                folder.mkdir()
                (folder / "kept.jpg").write_bytes(b"1")
                (folder / "stray.jpg").write_bytes(b"2")
                stage.claim("pictures/kept.jpg")

            stage.parts([("a", key, make)])
        assert sorted(contents(out)) == ["pages.json", "pictures/kept.jpg"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        Stage(tmp_path / "file" / "out")


def test_a_site_brought_up_to_date_equals_one_made_anew(leaderboard, site, tmp_path):
    out = tmp_path / "out"
    few = dataclasses.replace(leaderboard, records=leaderboard.records[:4])
    few.build(out)
    one = contents(out)
    leaderboard.build(out)
    assert contents(out) == contents(site)
    few.build(out)
    assert contents(out) == one


def test_one_new_result_renews_its_own_pages_and_no_other(leaderboard, site, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(site, out)
    before = {path: path.stat().st_ino for path in out.rglob("*") if path.is_file()}
    old = leaderboard.records[4]
    new = dataclasses.replace(old, id="9" * 64, created_at=old.created_at.replace(year=2026))
    dataclasses.replace(leaderboard, records=[*leaderboard.records, new]).build(out)
    renewed = {
        str(path.relative_to(out))
        for path in out.rglob("*")
        if path.is_file() and before.get(path) != path.stat().st_ino
    }
    pages = {address for address in renewed if address.endswith(".html")}
    assert pages == {"index.html", "benchmark/coco.html", method_page(new), result_page(new)}


def test_evidence_that_is_gone_and_other_cards_are_noticed(leaderboard, tmp_path):
    from harness import registry
    from reports.site import build_site

    shutil.copytree(leaderboard.folder / "results", tmp_path / "results")
    board = dataclasses.replace(leaderboard, folder=tmp_path, records=leaderboard.records[3:4])
    (record,) = board.records
    out = board.build(tmp_path / "out")
    assert "<img" in (out / result_page(record)).read_text()
    for path in board.evidence(record).folder.iterdir():
        path.unlink()
    board.build(out)
    assert "no longer in the workspace" in (out / result_page(record)).read_text()
    assert not list(out.rglob("*.jpg"))
    other = registry.method_card(record.method).model_copy(update={"title": "Renamed"})
    build_site(board.records, board.evidence, out, registry.benchmark, lambda name: other)
    assert "<h1>Renamed</h1>" in (out / method_page(record)).read_text()
