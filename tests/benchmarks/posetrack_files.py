"""Random PoseTrack sequences, written in the 2017 and the 2018 format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.api.skeleton import POSETRACK_15, POSETRACK_17

Person = dict[str, Any]
"""``joints``: id -> (x, y); ``scores``: id -> score; ``track``; ``head``: x1, y1, x2, y2."""
Frame = dict[str, Any]
"""``people`` and ``regions`` (lists of (x, y))."""


def random_sequence(random: np.random.Generator, frames: int) -> tuple[list[Frame], list[Frame]]:
    """Return truth and predictions: moving people, misses, false alarms, exchanged ids."""
    people = int(random.integers(1, 4))
    places = random.uniform(100, 500, (people, 1, 2)) + random.normal(0, 40, (people, 15, 2))
    truth, predicted = [], []
    for _ in range(frames):
        places = places + random.normal(0, 4, (people, 1, 2))
        here = [i for i in range(people) if random.random() < 0.8]
        crowd = random.random() < 0.15
        truth.append(
            {
                "people": [
                    {
                        "joints": _some(places[i], random, 0.8),
                        "track": i,
                        "head": [*(places[i, 14] - 15).round(1), *(places[i, 14] + 15).round(1)],
                    }
                    for i in here
                ],
                "regions": [[(0, 0), (300, 0), (300, 300), (0, 300)]] if crowd else [],
            }
        )
        own = [places[i] + random.normal(0, 7, (15, 2)) for i in here if random.random() < 0.85]
        own += [random.uniform(50, 550, (15, 2)) for _ in range(int(random.integers(0, 2)))]
        tracks = random.permutation(6)[: len(own)] if random.random() < 0.3 else range(len(own))
        predicted.append(
            {
                "people": [
                    {
                        "joints": (joints := _some(points, random, 0.9)),
                        "scores": {joint: random.random() for joint in joints},
                        "track": int(track) + 20,
                    }
                    for points, track in zip(own, tracks, strict=True)
                ],
                "regions": [],
            }
        )
    return truth, predicted


def _some(points: np.ndarray, random: np.random.Generator, share: float) -> dict[int, list[float]]:
    return {k: points[k].round(2).tolist() for k in range(15) if random.random() < share}


def write_2017(path: Path, frames: list[Frame]) -> None:
    """Write one sequence; values are lists of one, as in the official files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    annolist = [
        {
            "image": [{"name": f"images/{path.stem}/{number:08d}.jpg"}],
            "imgnum": [number + 1],
            "annorect": [_person_2017(person) for person in frame["people"]],
            "ignore_regions": [
                {"point": [{"x": [x], "y": [y]} for x, y in region]} for region in frame["regions"]
            ],
        }
        for number, frame in enumerate(frames)
    ]
    path.write_text(json.dumps({"annolist": annolist}))


def _person_2017(person: Person) -> dict[str, Any]:
    points = [
        {"id": [joint], "x": [x], "y": [y]}
        | ({"score": [person["scores"][joint]]} if "scores" in person else {})
        for joint, (x, y) in person["joints"].items()
    ]
    entry: dict[str, Any] = {"annopoints": [{"point": points}]}
    if "track" in person:
        entry["track_id"] = [person["track"]]
    if "head" in person:
        entry |= {
            side: [v] for side, v in zip(("x1", "y1", "x2", "y2"), person["head"], strict=True)
        }
    return entry


def write_2018(path: Path, frames: list[Frame]) -> None:
    """Write one sequence with the 17 joints of the official files; the ears stay empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, frame in enumerate(frames):
        image = {"id": 1000 + number, "file_name": f"images/val/{path.stem}/{number:06d}.jpg"}
        if frame["regions"]:
            image["ignore_regions_x"] = [[x for x, _ in region] for region in frame["regions"]]
            image["ignore_regions_y"] = [[y for _, y in region] for region in frame["regions"]]
        images.append(image)
        annotations += [_person_2018(person, 1000 + number) for person in frame["people"]]
    categories = [{"id": 1, "name": "person", "keypoints": list(POSETRACK_17.joints)}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document))


def _person_2018(person: Person, image_id: int) -> dict[str, Any]:
    keypoints, scores = [0.0] * 51, [0.0] * 17
    for joint, (x, y) in person["joints"].items():
        row = POSETRACK_17.joints.index(POSETRACK_15.joints[joint])
        keypoints[3 * row : 3 * row + 3] = [x, y, 1]
        scores[row] = person["scores"][joint] if "scores" in person else 0.0
    entry = {"image_id": image_id, "category_id": 1, "keypoints": keypoints}
    entry["scores"] = scores if "scores" in person else []
    if "track" in person:
        entry["track_id"] = person["track"]
    if "head" in person:
        x1, y1, x2, y2 = person["head"]
        entry["bbox_head"] = [x1, y1, x2 - x1, y2 - y1]
    return entry
