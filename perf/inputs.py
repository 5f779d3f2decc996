"""Synthetic inputs of full size for the evaluators, in the official file formats.

Every function writes ground truth and predictions below a folder and returns the path of the
predictions. Sizes are those of the real data sets; errors are noise of a plausible size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import scipy.io

from harness.api.skeleton import POSETRACK_15, POSETRACK_17

MPII_PEOPLE = 2958
NYU_FRAMES = 8252
H36M_VIDEOS, H36M_FRAMES = 240, 2292  # 2 subjects x 15 actions x 2 trials x 4 cameras
POSETRACK_SEQUENCES, POSETRACK_FRAMES, POSETRACK_PEOPLE = 170, 40, 6
OTB_SEQUENCES, OTB_FRAMES = 100, 590
MOT_SEQUENCES, MOT_FRAMES, MOT_PEOPLE = 11, 500, 8


def mpii(folder: Path) -> Path:
    """Write ``gt_valid.mat`` and predictions of the 2,958 people of the validation split."""
    random = np.random.default_rng(0)
    truth = random.uniform(50, 600, (MPII_PEOPLE, 1, 2)) + random.normal(
        0, 60, (MPII_PEOPLE, 16, 2)
    )
    corner = truth[:, 9] - 40
    (folder / "annot").mkdir(parents=True)
    scipy.io.savemat(
        folder / "annot" / "gt_valid.mat",
        {
            "pos_gt_src": truth.transpose(1, 2, 0),
            "jnt_missing": (random.random((16, MPII_PEOPLE)) < 0.06).astype(np.uint8),
            "headboxes_src": np.stack(
                [corner, corner + random.uniform(40, 90, corner.shape)]
            ).transpose(0, 2, 1),
        },
    )
    noise = random.normal(0, 1, truth.shape) * random.lognormal(2, 1, (MPII_PEOPLE, 16, 1))
    np.savez(folder / "predictions.npz", predictions=truth + noise)
    return folder / "predictions.npz"


def nyu_hand(folder: Path) -> Path:
    """Write the rows u v d of 8,252 hands of 14 joints."""
    random = np.random.default_rng(1)
    middle = random.normal((320, 240, 700), (40, 40, 60), (NYU_FRAMES, 1, 3))
    truth = middle + random.normal(0, 25, (NYU_FRAMES, 14, 3))
    label = folder / "groundtruth" / "nyu" / "nyu_test_groundtruth_label.txt"
    label.parent.mkdir(parents=True)
    np.savetxt(label, truth.reshape(NYU_FRAMES, -1), fmt="%.3f")
    predicted = truth + random.normal(0, 6, truth.shape)
    np.savetxt(folder / "predictions.txt", predicted.reshape(NYU_FRAMES, -1), fmt="%.3f")
    return folder / "predictions.txt"


def h36m(folder: Path) -> Path:
    """Write the official CDF files of S9 and S11, 550,080 frames, and predictions as .npz."""
    import cdflib.cdfwrite

    from benchmarks.datasets.h36m import ACTIONS, CAMERAS

    random = np.random.default_rng(2)
    predicted = []
    for subject in ("S9", "S11"):
        place = folder / subject / "MyPoseFeatures" / "D3_Positions_mono"
        place.mkdir(parents=True)
        names = [f"{a}{t}.{c}" for a in ACTIONS for t in ("", " 1") for c in CAMERAS]
        for name in sorted(names):
            drift = random.normal(0, 4, (H36M_FRAMES, 1, 3)).cumsum(axis=0)
            drift += np.array([0, 0, 5000])
            body = random.normal(0, 300, (32, 3))
            poses = (body + drift + random.normal(0, 20, (H36M_FRAMES, 32, 3))).astype(np.float32)
            file = cdflib.cdfwrite.CDF(place / f"{name}.cdf")
            spec = {
                "Variable": "Pose", "Data_Type": file.CDF_FLOAT, "Num_Elements": 1,
                "Rec_Vary": True, "Dim_Sizes": [H36M_FRAMES, 96],
            }  # fmt: skip
            file.write_var(spec, var_data=poses.reshape(1, H36M_FRAMES, 96))
            file.close()
            chosen = poses[:, [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]]
            predicted.append(chosen + random.normal(0, 40, chosen.shape).astype(np.float32))
    np.savez(folder / "predictions.npz", predictions=np.concatenate(predicted))
    return folder / "predictions.npz"


def posetrack(folder: Path) -> Path:
    """Write 170 sequences of 40 labelled frames and six people in the 2018 format."""
    random = np.random.default_rng(3)
    rows = [POSETRACK_17.joints.index(joint) for joint in POSETRACK_15.joints]
    for number in range(POSETRACK_SEQUENCES):
        name = f"{number:06d}_bonn_test.json"
        shape = (POSETRACK_FRAMES, POSETRACK_PEOPLE, 15, 2)
        walk = random.normal(0, 5, (POSETRACK_FRAMES, POSETRACK_PEOPLE, 1, 2)).cumsum(axis=0)
        truth = random.uniform(100, 900, (1, POSETRACK_PEOPLE, 1, 2)) + walk
        truth = truth + random.normal(0, 60, (1, POSETRACK_PEOPLE, 15, 2))
        noise = random.normal(0, 1, shape) * random.lognormal(2, 0.8, shape[:3])[..., None]
        seen = random.random(shape[:3]) < 0.85
        tracks = np.tile(np.arange(POSETRACK_PEOPLE), (POSETRACK_FRAMES, 1))
        _write_posetrack(folder / "annotations" / "val" / name, rows, truth, seen, tracks, None)
        found = random.random(shape[:3]) < 0.9
        late = random.integers(1, POSETRACK_FRAMES)
        tracks[late:] = random.permutation(POSETRACK_PEOPLE)  # all ids change once
        scores = random.random(shape[:3])
        _write_posetrack(folder / "results" / name, rows, truth + noise, found, tracks, scores)
    return folder / "results"


def _write_posetrack(
    path: Path,
    rows: list[int],
    points: np.ndarray,
    seen: np.ndarray,
    tracks: np.ndarray,
    scores: np.ndarray | None,
) -> None:
    """Write joints (frames, people, 15, 2) that are seen (frames, people, 15)."""
    frames, people = seen.shape[:2]
    keypoints = np.zeros((frames, people, 17, 3))
    keypoints[:, :, rows, :2] = np.where(seen[..., None], points.round(2), 0)
    keypoints[:, :, rows, 2] = seen
    head = points[:, :, 14].round(1) - 20
    confidence = np.zeros((frames, people, 17))
    if scores is not None:
        confidence[:, :, rows] = np.where(seen, scores, 0)
    annotations = [
        {
            "image_id": 1000 + frame,
            "category_id": 1,
            "keypoints": keypoints[frame, person].ravel().tolist(),
            "scores": confidence[frame, person].tolist(),
            "track_id": int(tracks[frame, person]),
            "bbox_head": [*head[frame, person].tolist(), 40.0, 44.0],
        }
        for frame in range(frames)
        for person in range(people)
    ]
    images = [
        {"id": 1000 + frame, "file_name": f"images/val/{path.stem}/{frame:06d}.jpg"}
        for frame in range(frames)
    ]
    categories = [{"id": 1, "name": "person", "keypoints": list(POSETRACK_17.joints)}]
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    path.write_bytes(orjson.dumps(document))


def otb(folder: Path) -> Path:
    """Write 100 sequences of 590 frames and a tracker's boxes."""
    random = np.random.default_rng(4)
    (folder / "results").mkdir(parents=True)
    for number in range(OTB_SEQUENCES):
        (folder / f"Seq{number:03d}").mkdir()
        walk = random.normal(0, 3, (OTB_FRAMES, 2)).cumsum(axis=0) + 2000
        truth = np.concatenate([walk, np.full((OTB_FRAMES, 2), (60, 90))], axis=1).round()
        away = np.abs(random.normal(0, 0.1, (OTB_FRAMES, 1))).cumsum(axis=0)
        boxes = truth + random.normal(0, 1, truth.shape) * (1 + away) * (1, 1, 0.2, 0.2)
        np.savetxt(folder / f"Seq{number:03d}" / "groundtruth_rect.txt", truth, "%d", ",")
        np.savetxt(folder / "results" / f"Seq{number:03d}.txt", boxes, "%.4f", ",")
    return folder / "results"


def mot(folder: Path) -> Path:
    """Write 11 sequences of 500 frames and eight people, the size of MOT15's training set."""
    random = np.random.default_rng(5)
    (folder / "results").mkdir(parents=True)
    shape = (MOT_FRAMES, MOT_PEOPLE)
    frame, track = np.broadcast_arrays(np.arange(1, MOT_FRAMES + 1)[:, None], np.arange(MOT_PEOPLE))
    for number in range(MOT_SEQUENCES):
        walk = random.normal(0, 2, (*shape, 2)).cumsum(axis=0) + random.uniform(0, 900, (8, 2))
        truth = np.concatenate([walk, np.broadcast_to((60.0, 150.0), (*shape, 2))], axis=2)
        found = random.random(shape) < 0.8
        ids = track + 1 + MOT_PEOPLE * (frame > random.integers(1, MOT_FRAMES))
        boxes = truth + random.normal(0, 5, truth.shape)
        gt = folder / "train" / f"SYN-{number:02d}" / "gt" / "gt.txt"
        gt.parent.mkdir(parents=True)
        _write_mot(gt, frame, track + 1, truth, np.ones(shape, dtype=bool))
        _write_mot(folder / "results" / f"SYN-{number:02d}.txt", frame, ids, boxes, found)
    return folder / "results"


def _write_mot(
    path: Path, frame: np.ndarray, ids: np.ndarray, boxes: np.ndarray, kept: np.ndarray
) -> None:
    end = np.broadcast_to((1, -1, -1, -1), (*frame.shape, 4))
    rows = np.concatenate([frame[..., None], ids[..., None], boxes, end], axis=2)[kept]
    np.savetxt(path, rows, "%d,%d,%.3f,%.3f,%.3f,%.3f,%d,%d,%d,%d")
