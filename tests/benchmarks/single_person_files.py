"""Small made-up data sets in the official layouts of the single-person benchmarks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from benchmarks.protocols.bbc_pose import BbcPose, Chalearn, PosesInTheWild
from benchmarks.protocols.flic import Flic
from benchmarks.protocols.lip import Lip
from benchmarks.protocols.lsp import Lsp
from benchmarks.protocols.mpii import Mpii
from benchmarks.protocols.single_person import SinglePerson
from harness.api import PEOPLE_2D, Dataset, Predictions
from harness.api.skeleton import FLIC_11, LSP_14

Array = NDArray[np.float64]


def people(count: int, joints: int, seed: int = 0) -> Array:
    """Return random points (count, joints, 2) in pixels well inside an image."""
    return np.random.default_rng(seed).uniform(20, 180, size=(count, joints, 2)).round(2)


def write_mpii(root: Path, count: int = 12) -> None:
    random = np.random.default_rng(1)
    points = people(count, 16)
    absent = random.random((16, count)) < 0.1
    corners = np.stack([points[:, 9] - 11.5, points[:, 9] + 13.25])  # (2, count, 2)
    (root / "annot").mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(
        root / "annot" / "gt_valid.mat",
        {
            "pos_gt_src": np.where(absent[:, None], 0, points.transpose(1, 2, 0)),
            "jnt_missing": absent.astype(np.uint8),
            "headboxes_src": corners.transpose(0, 2, 1),
        },
    )
    with h5py.File(root / "annot" / "valid.h5", "w") as file:
        file["part"] = np.where(absent.T[..., None], 0, points)
        file["normalize"] = 0.6 * np.linalg.norm(corners[1] - corners[0], axis=1)
        file["imgname"] = np.array([f"{i:09d}.jpg" for i in range(count)], dtype="S13")
        file["scale"] = np.full(count, 2.5)
        file["center"] = points[:, 6] + [0, 30]


def write_lsp(root: Path, count: int = 12) -> None:
    flagged = np.concatenate([people(count, 14), np.ones((count, 14, 1))], axis=2)
    (root / "joints.json").write_text(json.dumps({"joints": flagged.tolist()}))
    flagged[3] = flagged[3, LSP_14.flip_order]
    (root / "joints-OC.json").write_text(json.dumps({"joints": flagged.tolist()}))


def write_flic(root: Path, count: int = 12) -> None:
    points = people(count, 11)
    coords = np.full((count + 2, 29, 2), np.nan)
    coords[:count, [0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16]] = points
    nulls = [[[None if v != v else v for v in xy] for xy in person] for person in coords.tolist()]
    tests = [1] * count + [0] * 2
    (root / "examples.json").write_text(json.dumps({"coords": nulls, "istest": tests}))
    (root / "annot").mkdir(exist_ok=True)
    points[3] = points[3, FLIC_11.flip_order]
    with h5py.File(root / "annot" / "valid_personcentric.h5", "w") as file:
        file["part"] = points
        file["imgname"] = np.array([f"film-{i:03d}.jpg" for i in range(count)], dtype="S12")
        file["scale"] = np.full(count, 2.2)
        file["center"] = points[:, 10]


def write_lip(root: Path, count: int = 12) -> None:
    random = np.random.default_rng(2)
    points = people(count, 16).round()
    with (root / "lip_val_groundtruth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for i, person in enumerate(points):
            cells = [["nan"] * 3 if random.random() < 0.1 else [*xy, 1] for xy in person]
            writer.writerow([f"{i}.jpg", *(cell for joint in cells for cell in joint)])


def write_bbc(root: Path, count: int = 12) -> None:
    kinds = ["train", "val", "test", "test"]
    names = ("videoName", "type", "source", "test_frames", "test_joints")
    videos = np.empty((1, 4), dtype=[(name, object) for name in names])
    for i, kind in enumerate(kinds):
        videos[0, i] = (
            f"video {i}", kind, "manual", np.arange(10, 10 + count // 2)[None],
            people(count // 2, 7, seed=i).transpose(2, 1, 0),
        )  # fmt: skip
    scipy.io.savemat(root / "bbcpose.mat", {"bbcpose": videos})


def write_chalearn(root: Path, count: int = 12) -> None:
    lines = [
        f"test/{i}.jpg {','.join(str(v) for v in person.ravel())} 1,200,1,200,1 0"
        for i, person in enumerate(people(count, 7))
    ]
    (root / "test.txt").write_text("\n".join(lines))


def write_wild(root: Path, count: int = 12) -> None:
    frames = np.empty((1, count), dtype=[("im", object), ("point", object), ("visible", object)])
    for i, points in enumerate(people(count, 8)):
        seen = np.arange(8) != i
        frames[0, i] = (f"/selected_seqs/seq1/film-{i}.png", np.where(seen[:, None], points, -1),
                        seen[:, None])  # fmt: skip
    scipy.io.savemat(root / "poses_in_the_wild_data.mat", {"piw_data": frames})


WORLDS: dict[type[SinglePerson], Callable[[Path], None]] = {
    Mpii: write_mpii,
    Lsp: write_lsp,
    Flic: write_flic,
    Lip: write_lip,
    BbcPose: write_bbc,
    Chalearn: write_chalearn,
    PosesInTheWild: write_wild,
}


def predictions(ids: tuple[str, ...], keypoints: Array) -> Predictions:
    """Return one person per sample from keypoints (n, K, 2), 0-based."""
    return Predictions.from_samples(
        PEOPLE_2D,
        [
            (
                i,
                {
                    "keypoints": k[None],
                    "keypoint_scores": np.ones((1, len(k))),
                    "score": np.ones(1),
                },
            )
            for i, k in zip(ids, keypoints, strict=True)
        ],
    )


def near_truth(benchmark: SinglePerson, dataset: Dataset, seed: int = 5) -> Array:
    """Return 0-based predictions at every distance from the truth, a few of them missing."""
    random = np.random.default_rng(seed)
    truth = next(iter(dataset.truth.people.values())).keypoints
    away = (
        random.normal(size=truth.shape)
        * random.choice([0, 1, 4, 15, 40], size=truth.shape[:2])[..., None]
    )
    predicted = np.nan_to_num(truth, nan=50.0) + away.round(2)
    predicted[random.random(truth.shape[:2]) < 0.05] = np.nan
    return predicted
