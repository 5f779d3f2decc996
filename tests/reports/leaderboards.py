"""A small leaderboard: real and embedded results of COCO on data written here."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from harness import registry
from harness.api import PEOPLE_2D, Predictions, content_digest
from harness.evaluation import evaluate
from harness.records.record import Evidence, Record, write_evidence
from reports.site import build_site

WIDTH, HEIGHT = 96, 72


def write_coco(root: Path, split: str, *, synthetic: bool, images: int = 14, seed: int = 0) -> None:
    """Write a split in the official layout: two labelled people in every image, noise as image."""
    random = np.random.default_rng(seed)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir()
    pictures, people = [], []
    for image_id in range(1, images + 1):
        name = f"{image_id:012}.jpg"
        cv2.imwrite(
            str(root / split / name), random.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        )
        pictures.append({"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for person in range(2):
            keypoints = np.zeros((17, 3))
            keypoints[:, :2] = random.uniform((4 + 44 * person, 4), (44 + 44 * person, 68), (17, 2))
            keypoints[:, 2] = 2
            people.append(
                {
                    "id": len(people) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "keypoints": keypoints.reshape(-1).tolist(),
                    "num_keypoints": 17,
                    "area": 2000.0,
                    "bbox": [4 + 44 * person, 4, 40, 64],
                    "iscrowd": 0,
                }
            )
    content = {
        "info": {"synthetic": synthetic},
        "images": pictures,
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }
    path = root / "annotations" / f"person_keypoints_{split}.json"
    path.write_text(json.dumps(content))


def noisy(dataset, noise: float) -> Predictions:
    """Predict every person with Gaussian noise of that many pixels."""
    random = np.random.default_rng(3)
    truth = dataset.truth
    count = len(truth.id)
    keypoints = truth.keypoints[:, :, :2] + random.normal(0, noise, (count, 17, 2))
    columns = {
        "keypoints": keypoints,
        "keypoint_scores": np.ones((count, 17)),
        "score": random.uniform(0.2, 1, count),
    }
    return Predictions(PEOPLE_2D, dataset.sample_ids, truth.offsets.astype(np.int64), columns)


@dataclass
class Leaderboard:
    """Records and their evidence, and the site that is made of them."""

    folder: Path
    records: list[Record] = field(default_factory=list)

    def evidence(self, record: Record) -> Evidence:
        return Evidence(self.folder / "results" / record.id[:32])

    def add(
        self,
        name: str,
        root: Path,
        split: str,
        noise: float | None,
        *,
        boxes: str = "ground truth",
        **changes,
    ) -> Record:
        """Score noisy predictions as a method's; no noise makes a job without result."""
        coco = registry.benchmark("coco")
        dataset = coco.load(root, split)
        protocol = dataclasses.replace(coco.protocol(), box_source=boxes)
        method, _, variant = name.partition(":")
        number = len(self.records)
        record = Record(
            id=content_digest([name, split, boxes, number]),
            status="done",
            reason=None,
            source="run",
            method=method,
            variant=variant,
            benchmark="coco",
            split=split,
            synthetic=dataset.synthetic,
            protocol=protocol.variant,
            protocol_digest=protocol.digest,
            quirks=protocol.quirks(),
            dataset_digest=dataset.digest,
            data_root=str(root),
            limit=None,
            weights_sha256=content_digest(name),
            run_id=f"run-{split}",
            command=f"harness run --suite coco --methods {name} --split {split}",
            created_at=datetime(2025, 3, 1, 12, tzinfo=UTC) + timedelta(minutes=number),
            environment={"device": "cpu", "python": "3.11", "torch": "2.13"},
        )
        if noise is not None:
            predictions = noisy(dataset, noise)
            result = evaluate(coco, dataset, predictions, protocol)
            record = dataclasses.replace(
                record,
                metrics={k: None if v != v else v for k, v in result.metrics.items()},
                intervals=result.intervals,
                counts=result.counts,
                timings={"forward_s": 1.25, "samples_per_worker_s": 44.4},
                profile={"parameters": 28_536_112, "macs": 7_646_000_000, "paper_gflops": 7.12},
            )
            record = dataclasses.replace(record, **changes)
            write_evidence(self.evidence(record).folder, dataset.sample_ids, result, predictions)
        else:
            record = dataclasses.replace(record, **changes)
        self.records.append(record)
        return record

    def build(self, out: Path) -> Path:
        """Build the site and return its folder."""
        page = build_site(
            self.records, self.evidence, out, registry.benchmark, registry.method_card
        )
        assert page == out / "index.html"
        return out


def fill(folder: Path) -> Leaderboard:
    """Return a leaderboard with every kind of row."""
    board = Leaderboard(folder)
    real, embedded = folder / "real", folder / "embedded"
    write_coco(real, "val2017", synthetic=False)
    write_coco(embedded, "embedded-val", synthetic=True, seed=1)
    for name, noise in (("mean-pose:nano", 9.0), ("simplebaseline:nano", 2.6), ("hrnet:nano", 2.2)):
        board.add(name, embedded, "embedded-val", noise)
    board.add("hrnet:w32-256x192", real, "val2017", 1.0)
    board.add("simplebaseline:r50-256x192", real, "val2017", 1.5)
    board.add("hrnet:w48-256x192", real, "val2017", 1.2, boxes="detections sha256:" + "ab" * 32)
    board.add(
        "hrnet:w48-384x288",
        real,
        "val2017",
        None,
        status="skipped",
        reason="The weights are not on this machine.",
    )
    board.add(
        "simplebaseline:r152-256x192",
        real,
        "val2017",
        None,
        status="failed",
        reason="2 of 14 samples failed. 3: image 3.jpg cannot be decoded",
    )
    board.add("my model", real, "val2017", 0.8, boxes="submission", source="score", variant="")
    return board
