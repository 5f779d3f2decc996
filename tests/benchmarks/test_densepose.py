"""DensePose-COCO: the oracle cases, a plain evaluator written from the rules, files, refusals."""

from __future__ import annotations

import base64
import json
import pickle

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from dense_cases import KAPPA, Plain, write_world

from benchmarks.protocols.densepose import DensePose
from harness.api import PrerequisiteError, merge

BENCHMARK = DensePose()


def score(root, variant=None, weights=None, results="results.json"):
    dataset, protocol = BENCHMARK.load(root, "minival2014"), BENCHMARK.protocol(variant)
    read = BENCHMARK.read_predictions(root / results, dataset, protocol)
    return BENCHMARK.compute(BENCHMARK.statistics(dataset, read, protocol), protocol, weights)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_oracle_cases(shared_data, case):
    root = shared_data / "oracles" / "densepose" / f"case{case}"
    for record in json.loads((root / "expected.json").read_text()):
        metrics = score(root, record["protocol"])
        for name, value in record["metrics"].items():
            assert abs(metrics[name] - value) <= record["tolerance"], (record["protocol"], name)


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_plain_evaluator(tmp_path, seed):
    root = write_world(tmp_path / "w", seed, crowded=seed == 5)
    assert score(root) == pytest.approx(Plain(root, KAPPA).metrics(), abs=1e-9)


def test_one_normaliser(tmp_path):
    root = write_world(tmp_path / "w", 3)
    metrics = score(root, "gps_kappa_0.255")
    assert metrics == pytest.approx(Plain(root, dict.fromkeys(KAPPA, 0.255)).metrics(), abs=1e-9)
    assert metrics["gps/AP"] != score(root)["gps/AP"]
    assert metrics["iou/AP"] == score(root)["iou/AP"]


def test_perfect_predictions(tmp_path):
    """Points at the corners of the surface, painted where they are, are all found."""
    root = write_world(tmp_path / "w", 8)
    mesh = json.loads((root / "mesh" / "uv_mesh.json").read_text())
    content = json.loads((root / "annotations.json").read_text())
    results = []
    for one in content["annotations"]:
        one["iscrowd"] = 0
        one.pop("dp_masks", None)
        one.update({f"dp_{key}": [[5, 80, 150, 250][k] for k in range(4)] for key in "xy"})
        one.update(dp_I=[1, 2, 3, 4], dp_U=mesh["u"][0:16:4], dp_V=mesh["v"][0:16:4])
        # Whole sizes: the official tool cuts a box to whole pixels and loses its edge.
        one["bbox"] = [*one["bbox"][:2], *(int(side) for side in one["bbox"][2:])]
        w, h = one["bbox"][2:]
        iuv = np.ones((h, w, 3), np.uint8)
        for k, part in enumerate(one["dp_I"]):
            row, column = int(one["dp_y"][k] * h / 255), int(one["dp_x"][k] * w / 255)
            values = [round(255 * mesh[key][4 * k]) for key in "uv"]
            iuv[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = part, *values
        png = cv2.imencode(".png", iuv[..., ::-1])[1].tobytes()
        results.append(
            {
                "image_id": one["image_id"], "category_id": 1, "bbox": one["bbox"], "score": 1.0,
                "uv_shape": iuv.shape, "uv_data": base64.b64encode(png).decode(),
            }
        )  # fmt: skip
    (root / "annotations.json").write_text(json.dumps(content))
    (root / "results.json").write_text(json.dumps(results))
    metrics = score(root)
    for name in ("AP", "AP50", "AP75", "AR", "AR50", "AR75"):
        assert metrics[f"gps/{name}"] == pytest.approx(100.0)


# --- properties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 5])
def test_cuts_weights_and_order(tmp_path, seed):
    root = write_world(tmp_path / "w", seed, crowded=True)
    dataset, protocol = BENCHMARK.load(root, "minival2014"), BENCHMARK.protocol()
    read = BENCHMARK.read_predictions(root / "results.json", dataset, protocol)
    whole = BENCHMARK.statistics(dataset, read, protocol)
    metrics = BENCHMARK.compute(whole, protocol)
    random = np.random.default_rng(seed)
    ids = random.permutation(dataset.sample_ids).tolist()
    parts = [
        BENCHMARK.statistics(dataset, read.select(part), protocol)
        for part in (ids[:1], ids[1:4], ids[4:])
    ]
    assert BENCHMARK.compute(merge(parts), protocol) == metrics
    weights = random.integers(0, 3, size=(4, 6))
    drawn = BENCHMARK.resample(whole, protocol, weights)
    for row, times in enumerate(weights):
        alone = BENCHMARK.compute(whole, protocol, times)
        for name, value in alone.items():
            assert np.nan_to_num(drawn[name][row], nan=-100.0) == pytest.approx(value)
    scores = BENCHMARK.per_sample(whole, protocol)["gps"]
    assert ((scores >= 0) & (scores <= 1) | np.isnan(scores)).all()


def test_an_image_without_people_or_without_annotated_people_gives_no_false_positives(tmp_path):
    root = write_world(tmp_path / "w", 2)
    metrics = score(root)
    content = json.loads((root / "annotations.json").read_text())
    results = json.loads((root / "results.json").read_text())
    results += [{**r, "image_id": 1, "score": 2.0} for r in results]
    (root / "more.json").write_text(json.dumps(results))
    assert not any(a["image_id"] == 1 for a in content["annotations"])
    assert score(root, results="more.json") == pytest.approx(metrics)


# --- files ----------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize("suffix", ["npy", "mat", "pkl"])
def test_official_tables_equal_the_plain_one(tmp_path, suffix):
    root = write_world(tmp_path / "w", 1)
    expected = score(root)
    mesh = json.loads((root / "mesh" / "uv_mesh.json").read_text())
    (root / "mesh" / "uv_mesh.json").unlink()
    folder = root / "eval_data"
    folder.mkdir()
    scipy.io.savemat(
        folder / "SMPL_subdiv.mat",
        {"U_subdiv": mesh["u"], "V_subdiv": mesh["v"], "Part_ID_subdiv": mesh["part"]},
    )
    scipy.io.savemat(folder / "SMPL_SUBDIV_TRANSFORM.mat", {"index": mesh["transform"]})
    matrix, path = np.array(mesh["distances_lower"])[:, None], folder / f"Pdist_matrix.{suffix}"
    if suffix == "npy":
        np.save(path, matrix)
    elif suffix == "mat":
        with h5py.File(path, "w") as file:
            file["Pdist_matrix"] = matrix.T
    else:
        path.write_bytes(pickle.dumps({"Pdist_matrix": matrix}))
    assert score(root) == expected
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        score(root)


def test_pickles_with_code_are_refused(tmp_path, capsys):
    from benchmarks.datasets.densepose import _matrix_of_pickle

    path = tmp_path / "Pdist_matrix.pkl"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(pickle.UnpicklingError, match="print is no array"):
        _matrix_of_pickle(path)
    assert capsys.readouterr().out == ""


def test_without_tables_the_message_says_where_they_are_from(tmp_path):
    root = write_world(tmp_path / "w", 1)
    (root / "mesh" / "uv_mesh.json").unlink()
    with pytest.raises(PrerequisiteError, match="no geodesic tables") as error:
        BENCHMARK.load(root, "minival2014")
    assert "Pdist_matrix" in error.value.remedy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[2].pop("iuv"), "result 2 .*has neither iuv nor uv_data"),
        (lambda r: r[2].update(iuv="gone.png"), "result 2 .*does not exist"),
        (lambda r: r[2].update(bbox=[0, 0, 400, 3]), "result 2 .*its box needs"),
        (lambda r: r[2].update(score=float("nan")), "result 2 .*nan in score"),
        (lambda r: r[2].update(image_id=99), "result 2 .*unknown image_id 99"),
        (lambda r: r[2].update(bbox=[1, 2, 3]), "result 2 .*3 numbers in bbox"),
        (lambda r: [r[2].pop("iuv"), r[2].update(uv_data="AAAA")], "result 2 .*no image"),
    ],
)
def test_wrong_results(tmp_path, change, message):
    root = write_world(tmp_path / "w", 5, crowded=True)
    results = json.loads((root / "results.json").read_text())
    change(results)
    (root / "results.json").write_text(json.dumps(results))
    with pytest.raises(PrerequisiteError, match=message):
        score(root)


def test_wrong_annotations_and_tables(tmp_path):
    root = write_world(tmp_path / "w", 5)
    content = json.loads((root / "annotations.json").read_text())
    annotated = next(a for a in content["annotations"] if "dp_x" in a)
    annotated["dp_V"].append(0.5)
    (root / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(PrerequisiteError, match=f"annotation {annotated['id']} has no dp_V of"):
        BENCHMARK.load(root, "minival2014")
    annotated["dp_V"].pop()
    (root / "annotations.json").write_text(json.dumps(content))
    mesh = json.loads((root / "mesh" / "uv_mesh.json").read_text())
    mesh["distances_lower"].pop()
    (root / "mesh" / "uv_mesh.json").write_text(json.dumps(mesh))
    with pytest.raises(PrerequisiteError, match="4464 distances, 95 vertices need 4465"):
        BENCHMARK.load(root, "minival2014")
    dataset = BENCHMARK.load(write_world(tmp_path / "v", 1), "minival2014")
    with pytest.raises(PrerequisiteError, match=r"is no \.json file") as error:
        BENCHMARK.read_predictions(root / "x.pth", dataset, BENCHMARK.protocol())
    assert "pickles and are not read" in error.value.remedy
