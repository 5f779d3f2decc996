"""``harness run --suite coco`` for real: shipped networks, embedded world, real pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness import load_method, registry
from harness.api import PrerequisiteError, in_skeleton
from harness.data import DataFolders
from harness.evaluation import evaluate
from harness.execution.pipeline import predict
from harness.running import RunOptions, RunSummary, run_suite
from harness.suites import read_suite
from harness.view import View
from harness.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")

NETWORKS = ("simplebaseline:nano", "hrnet:nano")


class Notes(View):
    """A view that keeps the remarks."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSummary, Notes, Path]:
    """The README's first command, once for all tests here."""
    workspace, view = tmp_path_factory.mktemp("main"), Notes()
    return run_suite(RunOptions("coco", workspace=workspace), view), view, workspace


def test_everything_is_done_and_labelled(main_job: tuple[RunSummary, Notes, Path]) -> None:
    summary, view, _ = main_job
    given, detected = read_suite("coco").entries
    names = [*given.methods.embedded, *detected.methods.embedded]
    assert [record.name for record in summary.records] == names
    assert {record.status for record in summary.records} == {"done"}
    assert {record.split for record in summary.records} == {"embedded-val"}
    assert all(record.synthetic for record in summary.records)
    assert any("no real data found" in note and "cocodataset.org" in note for note in view.notes)
    page = (summary.page.parent / "benchmark" / "coco.html").read_text()
    assert "synthetic" in page


def test_the_networks_have_learned(main_job: tuple[RunSummary, Notes, Path]) -> None:
    ap = average_precision(main_job[0], "ground truth")
    assert min(ap[name] for name in NETWORKS) >= 0.45
    assert ap["mean-pose:nano"] < 0.5 * min(ap[name] for name in NETWORKS)


def average_precision(summary: RunSummary, boxes: str) -> dict[str, float]:
    """Return the AP of the results whose box source begins so, by method."""
    own = [r for r in summary.records if r.quirks["box_source"].startswith(boxes)]
    return {record.name: record.metrics["AP"] for record in own}


def test_networks_also_find_people_on_the_boxes_of_a_detector(
    main_job: tuple[RunSummary, Notes, Path],
) -> None:
    summary, _, workspace = main_job
    (detector,) = [record for record in summary.records if record.name == "mask-rcnn:nano"]
    given = average_precision(summary, "ground truth")
    detected = average_precision(summary, f"found by mask-rcnn:nano {detector.id}")
    assert set(detected) == set(read_suite("coco").entries[1].methods.embedded)
    assert all(0.6 * given[name] < ap < given[name] for name, ap in detected.items())
    (record,) = [
        record
        for record in summary.records
        if record.name == "hrnet:nano" and detector.id in record.quirks["box_source"]
    ]
    page = Workspace(workspace).page(record.id).read_text()
    link = f'<a href="../result/{detector.id}.html">person boxes found by mask-rcnn:nano'
    assert link in page


@pytest.mark.parametrize("name", NETWORKS)
def test_an_untrained_twin_has_not(name: str, main_job: tuple[RunSummary, Notes, Path]) -> None:
    benchmark = registry.benchmark("coco")
    dataset = benchmark.load(Path(main_job[0].records[0].data_root), "embedded-val")
    samples = benchmark.samples(dataset, benchmark.protocol())
    method = load_method(name)
    predictions = predict(method, samples).predictions
    metrics = benchmark.compute(
        benchmark.statistics(
            dataset,
            in_skeleton(predictions, method.skeleton, benchmark.skeleton),
            benchmark.protocol(),
        ),
        benchmark.protocol(),
    )
    assert metrics["AP"] < 0.05


def test_store_mlflow_and_page_agree(main_job: tuple[RunSummary, Notes, Path]) -> None:
    from mlflow import MlflowClient

    summary, _, workspace = main_job
    client = MlflowClient(Workspace(workspace).tracking_uri)
    board = json.loads((summary.page.parent / "leaderboard.json").read_text())
    (coco,) = [entry for entry in board["benchmarks"] if entry["name"] == "coco"]
    # Given boxes, detected ones and none stand in sections of their own.
    sections = [entry for entry in coco["sections"] if entry["kind"] == "embedded"]
    assert len(sections) == 3
    rows = {row["result"]: row["values"] for section in sections for row in section["rows"]}
    for record in summary.records:
        run = client.get_run(record.mlflow_run_id)
        for name, value in record.metrics.items():
            if value is not None:
                assert run.data.metrics[f"coco/{name}"] == value
                assert rows[record.id][name]["value"] == pytest.approx(100 * value, rel=1e-14)
        parent = client.get_run(run.data.tags["mlflow.parentRunId"])
        assert parent.data.tags["harness.suite"] == "coco"
        artifacts = {artifact.path for artifact in client.list_artifacts(record.mlflow_run_id)}
        assert {"per_image.json", "page", "evaluation.json"} <= artifacts
        curve = client.get_metric_history(record.mlflow_run_id, "curves/OKS 0.50")
        assert [point.step for point in curve] == list(range(101))
        assert curve[0].value >= curve[-1].value


def test_the_stored_predictions_give_the_stored_numbers(
    main_job: tuple[RunSummary, Notes, Path],
) -> None:
    summary, _, workspace = main_job
    benchmark = registry.benchmark("coco")
    for record in summary.records:
        dataset = benchmark.load(Path(record.data_root), record.split)
        evidence = Workspace(workspace).evidence(record.id)
        again = evaluate(benchmark, dataset, evidence.predictions(), benchmark.protocol())
        assert {k: v for k, v in again.metrics.items() if v == v} == {
            k: v for k, v in record.metrics.items() if v is not None
        }
        assert dict(again.intervals) == dict(record.intervals)


def run(root: Path, workspace: Path, **changes: object) -> RunSummary:
    options = {"split": "val2017", "methods": NETWORKS} | changes
    data = DataFolders(own={"coco": root})
    return run_suite(RunOptions("coco", data=data, workspace=workspace, **options), Notes())


def test_real_pictures_with_both_box_sources(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "coco" / "val4"
    detections = root / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json"
    given = run(root, tmp_path, boxes="gt")
    detected = run(root, tmp_path, boxes=str(detections))
    for summary in (given, detected):
        assert [record.status for record in summary.records] == ["done", "done"]
        assert not any(record.synthetic for record in summary.records)
    assert given.records[0].quirks["box_source"] == "ground truth"
    assert detected.records[0].quirks["box_source"].startswith("detections sha256:")
    assert given.records[0].protocol_digest != detected.records[0].protocol_digest
    assert given.records[0].counts == {"samples": 4, "predictions": 12}
    assert detected.records[0].counts["predictions"] > 12


def test_the_boxes_of_a_detector_that_fails_are_told_as_missing(
    shared_data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "coco"
    shutil.copytree(shared_data / "coco" / "val4", root)
    picture = root / "val2017" / "000000000785.jpg"
    picture.rename(tmp_path / "away.jpg")
    options = {"methods": ("hrnet:nano",), "boxes": "mask-rcnn:nano"}
    failed = run(root, tmp_path / "w", **options)
    assert [record.name for record in failed.records] == ["mask-rcnn:nano", "hrnet:nano"]
    assert [record.status for record in failed.records] == ["failed", "failed"]
    assert "No person boxes from mask-rcnn:nano: 1 of 4 samples" in failed.records[1].reason
    (tmp_path / "away.jpg").rename(picture)
    done = run(root, tmp_path / "w", **options)
    assert [record.status for record in done.records] == ["done", "done"]
    assert done.records[1].quirks["box_source"] == f"found by mask-rcnn:nano {done.records[0].id}"


def test_people_without_boxes_are_refined_in_boxes_around_their_joints(
    shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "coco" / "val4"
    summary = run(root, tmp_path, methods=("hrnet:nano",), boxes="openpose:nano")
    found, refined = summary.records
    assert (
        refined.quirks["box_source"]
        == f"found by openpose:nano, 1.25 times their joints {found.id}"
    )
    people = Workspace(tmp_path).evidence(refined.id).predictions()
    before = Workspace(tmp_path).evidence(found.id).predictions()
    known = np.isfinite(before.columns["keypoints"][..., 0]).sum(axis=1) > 1
    assert people.offsets[-1] == known.sum() > 0


def test_a_method_that_needs_boxes_is_no_source_of_them(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="it needs person boxes itself"):
        run_suite(RunOptions("coco", boxes="hrnet:nano", workspace=tmp_path), Notes())


def test_an_official_network_runs_on_real_pictures(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights in the official format, imported, run like any checkpoint."""
    import torch

    from harness.registry import method_card
    from harness.weights import import_file

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    name, root = "simplebaseline:r50-256x192", shared_data / "coco" / "val4"
    skipped = run(root, tmp_path / "w", methods=(name,), limit=2).records[0]
    assert skipped.status == "skipped"
    assert "harness weights fetch simplebaseline:r50-256x192" in skipped.reason
    state = load_method(name).network.state_dict()
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        tmp_path / "pose_resnet_50.pth.tar",
    )
    import_file(method_card("simplebaseline"), "r50-256x192", tmp_path / "pose_resnet_50.pth.tar")
    record = run(root, tmp_path / "w", methods=(name,), limit=2).records[0]
    assert (record.status, record.counts["samples"]) == ("done", 2)
    assert record.profile["parameters"] == 33_999_697
    assert 4 * 33_999_697 < record.profile["peak_memory_mb"] * 2**20 < 8 * 33_999_697
    assert record.weights_sha256 is not None


def test_missing_and_broken_pictures_are_named(shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "coco"
    shutil.copytree(shared_data / "coco" / "val4", root)
    (root / "val2017" / "000000000785.jpg").unlink()
    broken = root / "val2017" / "000000040083.jpg"
    broken.write_bytes(broken.read_bytes()[:50])
    record = run(root, tmp_path / "w", methods=("hrnet:nano",)).records[0]
    assert record.status == "failed"
    assert record.reason.startswith("2 of 4 samples failed.")
    assert "000000000785.jpg does not exist" in record.reason
    assert "000000040083.jpg cannot be decoded" in record.reason


def test_a_wrong_data_folder_shows_the_layout(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"annotations/person_keypoints_val2017\.json"):
        run(tmp_path, tmp_path / "w")
    with pytest.raises(PrerequisiteError, match="no such file, and no method of that name"):
        run_suite(
            RunOptions("coco", boxes=str(tmp_path / "none.json"), workspace=tmp_path), Notes()
        )
