"""One point per box: the mean distance in pixels between prediction and truth."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.api import (
    PEOPLE_2D,
    Benchmark,
    Column,
    Dataset,
    PrerequisiteError,
    Protocol,
    Ragged,
    Sample,
    Statistics,
    file_digest,
    quirk,
)


@dataclass(frozen=True, kw_only=True)
class ToyProtocol(Protocol):
    """Mean distance, optionally clipped."""

    clip: float = quirk("Distances above this many pixels count as this many.", default=100.0)


class Toy(Benchmark):
    """Reads ``toy.json``: ``{"samples": [{"id", "boxes", "points", "behaviour"}]}``."""

    name = "toy"
    title = "Toy"
    citation = ""
    obtain = "Write it yourself."
    schema = PEOPLE_2D
    skeleton = None
    protocols: ClassVar = {
        "official": ToyProtocol(
            variant="official", title="Mean distance", benchmark="toy", box_source="ground truth"
        )
    }
    columns = (Column("distance", "Distance", decimals=2, higher_is_better=False),)
    primary = "distance"
    default_split = "test"

    def layout(self, split):
        return "toy.json"

    def splits(self, root):
        return ("test",) if (root / "toy.json").is_file() else ()

    def load(self, root, split):
        path = root / "toy.json"
        truth = {record["id"]: record for record in json.loads(path.read_text())["samples"]}
        return Dataset(self.name, split, root, file_digest(path), False, tuple(truth), truth)

    def samples(self, dataset, protocol, detections=None):
        return [
            Sample(
                id=sample_id,
                images=(f"{sample_id}.jpg",),
                boxes=np.array(dataset.truth[sample_id]["boxes"], dtype=float).reshape(-1, 4),
                box_scores=np.ones(len(dataset.truth[sample_id]["boxes"])),
                inputs={"behaviour": dataset.truth[sample_id].get("behaviour", "")},
            )
            for sample_id in dataset.sample_ids
        ]

    def statistics(self, dataset, predictions, protocol):
        place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
        distances = []
        for i, sample_id in enumerate(predictions.sample_ids):
            points = np.array(dataset.truth[sample_id]["points"], dtype=float).reshape(-1, 2)
            offsets = predictions.rows_of(i)["keypoints"][:, 0] - points
            distances.append(np.minimum(np.linalg.norm(offsets, axis=1), protocol.clip))
        position = np.array([place[sample_id] for sample_id in predictions.sample_ids])
        return Statistics(position, {"distance": Ragged.from_lists(distances)})

    def compute(self, statistics, protocol, weights=None):
        column = statistics.ragged("distance")
        if weights is None:
            weights = np.ones(len(statistics), dtype=np.int64)
        each = weights[column.owner]
        total = each.sum()
        return {"distance": float((column.values * each).sum() / total) if total else np.nan}

    def read_predictions(self, path, dataset, protocol):
        raise PrerequisiteError(f"{path}: toy takes no files.", "Run a method.")
