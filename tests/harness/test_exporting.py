"""``harness export``: from a recorded result to the file that a benchmark's server takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.api import PrerequisiteError
from harness.cli import app
from harness.exporting import export_submission
from harness.records.record import Record
from harness.records.store import Store
from harness.workspace import Workspace

IMAGES = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in (7, 3)]
RESULTS = [
    {"image_id": 3, "category_id": 1, "keypoints": [1.25, 2, 0.5] * 17, "score": 0.75},
    {"image_id": 7, "category_id": 1, "keypoints": [3, 4.5, 1] * 17, "score": 0.5},
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one result on a test set, made by ``harness score``."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "coco" / "annotations").mkdir(parents=True)
    (folder / "coco" / "annotations" / "image_info_test-dev2017.json").write_text(
        json.dumps({"images": IMAGES, "categories": []})
    )
    (folder / "results.json").write_text(json.dumps(RESULTS))
    command = ["score", "coco", str(folder / "results.json"), "--workspace", str(folder / "w")]
    result = CliRunner().invoke(
        app, [*command, "--split", "test-dev2017", "--data", str(folder), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["metrics"] == {}
    return folder / "w"


def stored(workspace: Path) -> tuple[Store, Record]:
    store = Store(Workspace(workspace).store_url)
    return store, store.records()[0]


def test_the_stored_predictions_are_written(workspace: Path, tmp_path: Path) -> None:
    _, record = stored(workspace)
    out = tmp_path / "mine.json"
    command = ["export", record.id[:8], "--out", str(out), "--workspace", str(workspace)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert str(out) in result.stdout.replace("\n", "")
    assert json.loads(out.read_text()) == RESULTS


def test_the_beginning_of_the_id_must_fit_one_result(workspace: Path, tmp_path: Path) -> None:
    store, record = stored(workspace)
    space, out = Workspace(workspace), tmp_path / "out.zip"
    with pytest.raises(PrerequisiteError, match="No result"):
        export_submission(space, "no", out)
    twin = replace(record, id=record.id[:10] + "x" * 54)
    store.write(twin)
    with pytest.raises(PrerequisiteError, match="2 results have ids"):
        export_submission(space, record.id[:10], out)
    assert export_submission(space, record.id[:11], out).id == record.id
    assert out.is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": 1}, "is of the first 1 samples"),
        ({"status": "failed"}, "is failed"),
        ({"dataset_digest": "0" * 64}, "have changed"),
    ],
)
def test_only_whole_results_of_unchanged_data(
    workspace: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    store, record = stored(workspace)
    store.write(replace(record, id="y" * 64, **change))
    with pytest.raises(PrerequisiteError, match=message):
        export_submission(Workspace(workspace), "yy", tmp_path / "out.zip")


def test_a_place_that_cannot_be_written(workspace: Path, tmp_path: Path) -> None:
    _, record = stored(workspace)
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        export_submission(Workspace(workspace), record.id, tmp_path / "absent" / "out.zip")
