"""One table: every number that others have stated for files we hold, through ``harness score``.

A row says which record of which ``expected.json`` is met by which command. The table is written
out, so that data that has gone missing fails here as a wrong number does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.data import DataFolders
from harness.scoring import ScoreOptions, score_predictions

TRUTH = "<the ground truth>"
"""In place of a result file: the annotations themselves, written in the results format."""

OWN_TOLERANCE = 1e-9
"""For ``own_computation``: all digits are given there, so all must be met."""

# Counts from which the tools compute the metrics of the same record; the tests of these
# benchmarks compare them where our statistics keep them.
NO_METRICS = {"counts", "images_per_level"}

# pose_nms is about suppression and pose_errors about the analysis of errors: neither is a
# benchmark that predictions are submitted to.
OTHER_FOLDERS = {"oracles/pose_nms", "oracles/pose_errors"}

CASES = (1, 2, 3, 4)
CAMPUS, CITY = "TUD-Campus", "TUD-Stadtmitte"


class Row(NamedTuple):
    """``harness score BENCHMARK PREDICTIONS --data BENCHMARK=ROOT --protocol ... --split ...``."""

    folder: str
    """Holds expected.json, below the data."""
    record: int
    """Which record of it."""
    benchmark: str
    predictions: str
    """Below the folder, as ``root``."""
    protocol: str | None = None
    """None: the benchmark's default."""
    split: str | None = None
    root: str = "."
    variant: str | None = None
    """Entry of the record's ``variants``, whose metrics are due in place of the record's."""

    @property
    def name(self) -> str:
        """Return the name of the test."""
        words = (self.folder, self.record, self.protocol or "default", self.variant or "")
        return "-".join(str(word) for word in words if word != "")


def oracle(kind: str, benchmark: str, predictions: str, *protocols: str | None) -> list[Row]:
    """Return the rows of four cases, a record for each of the protocols."""
    return [
        Row(f"oracles/{kind}/case{case}", record, benchmark, predictions, protocol)
        for case in CASES
        for record, protocol in enumerate(protocols or (None,))
    ]


def variants(kind: str, benchmark: str, predictions: str, **protocols: str) -> list[Row]:
    """Return the rows of four cases for variants of their first record."""
    return [
        Row(f"oracles/{kind}/case{case}", 0, benchmark, predictions, protocol, variant=variant)
        for case in CASES
        for variant, protocol in protocols.items()
    ]


def h36m(case: int, *protocols: str) -> list[Row]:
    """Return the rows of a case of Human3.6M; our protocols answer to the official names."""
    folder = f"oracles/human36m/case{case}"
    return [
        Row(folder, record, "h36m-mesh", "mesh.json")
        if protocol == "mesh"
        else Row(folder, record, "h36m", "poses.json", protocol)
        for record, protocol in enumerate(protocols)
    ]


H36M_COMMON = ("martinez_no_drop", "hmr_p1", "hmr_p2", "spin_graphcmr", "chen_ramanan_p1")
H36M_LAST = ("integral", "bones", "lcn", "mmpose")
KEYPOINTS = "results/person_keypoints_val2017_example_results.json"
CROWD = "results/crowdpose_val_example_results.json"
HG, NEWELL = "results/bearpaw-hg_s2_b1.mat", "results/newell_valid-ours.h5"
LSP, FLIC = (
    "results/LSP_prediction_model_MPII_LSP_6s.mat",
    "results/FLIC_prediction_model_FLIC_4s.mat",
)
MULTI = "results/pred_keypoints_mpii_multi.json"

TABLE = [
    Row("coco", 0, "coco", f"val4/{KEYPOINTS}", root="val4"),
    Row("coco", 1, "coco", f"single_image/{KEYPOINTS}", root="single_image"),
    Row("coco", 2, "coco", TRUTH, root="val4"),
    Row("coco", 3, "coco", TRUTH, root="single_image"),
    Row("coco", 4, "coco", TRUTH, root="val538"),
    Row("crowdpose", 0, "crowdpose", f"example4/{CROWD}", root="example4"),
    Row("crowdpose", 1, "crowdpose", f"example4/{CROWD}", root="example4"),
    Row("crowdpose", 1, "crowdpose", f"example4/{CROWD}", "cut-0.2-0.8", root="example4"),
    Row("crowdpose", 2, "crowdpose", TRUTH),
    Row("mpii", 0, "mpii", HG),
    Row("mpii", 1, "mpii", NEWELL),
    Row("mpii", 2, "mpii", HG, "h5"),
    Row("mpii", 3, "mpii", NEWELL, "h5"),
    Row("lsp", 0, "lsp", LSP),
    Row("lsp", 1, "lsp", LSP, "torso-rsho-lhip"),
    Row("lsp", 2, "lsp", LSP, "observer-centric"),
    Row("lsp", 3, "lsp", LSP, "neck-torso"),
    Row("flic", 0, "flic", FLIC),
    Row("flic", 1, "flic", FLIC, "person-centric"),
    Row("nyu_hand", 0, "nyu-hand", "results/nyu/CVPR18_NYU_V2V_PoseNet.txt"),
    Row("nyu_hand", 1, "nyu-hand", "results/nyu/CVWW15_NYU_Prior.txt"),
    Row("nyu_hand", 2, "nyu-hand", "results/nyu/NEUCOM18_NYU_Pose_REN.txt"),
    Row("icvl_hand", 0, "icvl-hand", "results/icvl/CVPR18_ICVL_V2V_PoseNet.txt"),
    Row("icvl_hand", 1, "icvl-hand", "results/icvl/NEUCOM18_ICVL_Pose_REN.txt"),
    Row("otb", 0, "otb", "results/results_OPE/*_SRDCF.mat"),
    Row("otb", 1, "otb", "results/results_OPE/*_KCF_GaussHog.mat"),
    Row("otb", 2, "otb", "results/results_OPE/*_Struck.mat"),
    Row("mot", 0, "mot", f"results/example/{CAMPUS}.txt", split=CAMPUS),
    Row("mot", 1, "mot", f"results/example/{CITY}.txt", split=CITY),
    *oracle("atr_parsing", "atr", "results"),
    *oracle("lip_parsing", "lip-parsing", "results"),
    *oracle("coco_bbox", "coco-person", "results/bbox_val2017_results.json"),
    *oracle("crowdpose", "crowdpose", "results/crowdpose_val_results.json"),
    *variants(
        "crowdpose",
        "crowdpose",
        "results/crowdpose_val_results.json",
        **{"cut_0.2_0.8": "cut-0.2-0.8"},
    ),
    *oracle("densepose", "densepose", "results.json", "gps-per-part", "gps-kappa-0.255"),
    Row("oracles/depth_hand/case1", 0, "msra-hand", "results/msra/example.txt"),
    Row("oracles/depth_hand/case2", 0, "nyu-hand", "results/nyu/example.txt"),
    Row("oracles/depth_hand/case3", 0, "icvl-hand", "results/icvl/example.txt"),
    Row("oracles/depth_hand/case4", 0, "msra-hand", "results/msra/example.txt"),
    *oracle("flic_curve", "flic", "predictions.json", "modec"),
    *h36m(
        1, "videopose3d", "averaging", "martinez_p1_batch8", "martinez_p2_batch8",
        *H36M_COMMON, *H36M_LAST, "mesh",
    ),
    *h36m(
        2, "videopose3d", "averaging", "martinez_p1_batch16", "martinez_p2_batch16",
        *H36M_COMMON, *H36M_LAST,
    ),
    *h36m(
        3, "videopose3d", "averaging", "martinez_p1_batch8", "martinez_p2_batch8",
        *H36M_COMMON, *H36M_LAST, "mesh",
    ),
    *h36m(
        4, "videopose3d", "averaging", "chen_ramanan_p1", "integral", "bones", "mmpose", "strides"
    ),
    *oracle("itop", "itop", "result.json"),
    *oracle("lip_pose", "lip", "pred_keypoints_lip.csv", None, None),
    *oracle("lsp_pck", "lsp", "predictions.json"),
    *oracle("mot", "mot", "results/own"),
    *oracle("mot", "mot", "results/own", "trackeval"),
    *variants("mot", "mot", "results/own", motmetrics="motmetrics", trackeval="trackeval"),
    *oracle("mpii_multi", "mpii-multi", MULTI),
    *variants("mpii_multi", "mpii-multi", MULTI, deepcut_total="deepcut"),
    *oracle("otb_robustness", "otb", "results.json", "ope_tre_sre"),
    *oracle("posetrack", "posetrack", "results/val"),
]  # fmt: skip


class Quiet:
    """A view that shows nothing."""

    def note(self, text: str) -> None: ...

    def building(self, what: str, done: int, total: int) -> None: ...

    def planned(self, jobs: Sequence[tuple[str, str, int, int]]) -> None: ...

    def shard(self, digest: str, report: Any) -> None: ...

    def recorded(self, record: Any, *, reused: bool) -> None: ...


def records(folder: Path) -> list[dict[str, Any]]:
    """Read expected.json: a list of records, or one."""
    content = json.loads((folder / "expected.json").read_text())
    return content if isinstance(content, list) else [content]


def write_truth(annotations: Path, out: Path) -> Path:
    """Write the annotated people that count as results with score 1, in file order."""
    results = [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": person["keypoints"],
            "score": 1.0,
        }
        for person in json.loads(annotations.read_text())["annotations"]
        if person["num_keypoints"] > 0 and not person["iscrowd"]
    ]
    out.write_text(json.dumps(results))
    return out


def missed(
    ours: Mapping[str, float | None], due: Mapping[str, float | None], tolerance: float
) -> dict[str, tuple[Any, Any]]:
    """Return the entries of ``due`` that ours do not meet; None is "no value"."""
    wrong = {}
    for name, value in due.items():
        own = ours.get(name, "not reported")
        numbers = isinstance(own, float) and value is not None
        if not (abs(own - value) <= tolerance if numbers else own is value):
            wrong[name] = (own, value)
    return wrong


@pytest.fixture
def without_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the thousand bootstrap draws: no number of the table comes from them."""
    monkeypatch.setattr("harness.evaluation.bootstrap", lambda *_: {})


@pytest.mark.usefixtures("without_intervals")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_expected_numbers(row: Row, shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / row.folder / row.root
    if row.predictions == TRUTH:
        (annotations,) = (root / "annotations").glob("*.json")
        path = write_truth(annotations, tmp_path / "truth.json")
    else:
        path = shared_data / row.folder / row.predictions
    folders = DataFolders(own={row.benchmark: root})
    options = ScoreOptions(row.benchmark, path, folders, row.split, row.protocol, workspace=None)
    ours = score_predictions(options, Quiet()).record.metrics
    expected = records(shared_data / row.folder)[row.record]
    if row.variant is not None:
        due = expected["variants"][row.variant]["metrics"]
        assert due
        assert not missed(ours, due, expected["tolerance"])
        return
    own = expected.get("own_computation") or {}
    further = {name: value for name, value in own.items() if name not in NO_METRICS}
    assert expected["metrics"] or further
    assert not missed(ours, expected["metrics"], expected["tolerance"])
    assert not missed(ours, further, OWN_TOLERANCE)


def test_the_table_is_complete(shared_data: Path) -> None:
    there = {
        (str(path.parent.relative_to(shared_data)), number)
        for path in shared_data.rglob("expected.json")
        for number in range(len(records(path.parent)))
        if str(path.parents[1].relative_to(shared_data)) not in OTHER_FOLDERS
    }
    assert {(row.folder, row.record) for row in TABLE} == there


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.name in ("lsp-1-torso-rsho-lhip", "mot-0-default")]
)
def test_the_command_prints_the_same_names_and_values(row: Row, shared_data: Path) -> None:
    folder, words = shared_data / row.folder, ["--json", "--no-record"]
    words += ["--protocol", row.protocol] if row.protocol else []
    words += ["--split", row.split] if row.split else []
    words += ["--data", f"{row.benchmark}={folder / row.root}"]
    result = CliRunner().invoke(
        app, ["score", row.benchmark, str(folder / row.predictions), *words]
    )
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert list(printed) == ["benchmark", "protocol", "digest", "split", "metrics", "counts"]
    expected = records(folder)[row.record]
    assert not missed(printed["metrics"], expected["metrics"], expected["tolerance"])
    assert not missed(printed["metrics"], expected["own_computation"], OWN_TOLERANCE)
