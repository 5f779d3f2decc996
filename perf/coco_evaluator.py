"""Time the COCO keypoint evaluators on a synthetic set of the size of val2017.

5,000 images, about 6,350 people with keypoints, crowds and people without keypoints, about 104,000
detections of which about 75,000 are among an image's best 20. Every engine runs in a process of its
own, from the two JSON files on disk to the ten numbers; these are compared with pycocotools'. Of
several rounds, in which the engines take turns, each engine's fastest counts.

    python perf/coco_evaluator.py [--folder DIR] [--rounds 3] [--draws 1000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

IMAGES = 5000
REFERENCE = "pycocotools"
MODULES = {
    REFERENCE: "pycocotools",
    "pose-harness": "benchmarks",
    "hotcoco": "hotcoco",
    "faster-coco-eval": "faster_coco_eval",
}
EVALUATE_TARGET, LOADED_TARGET = 20.0, 5.0

# A standing person in a box of one by one: x, y of the 17 joints.
POSE = np.array(
    [
        (0.50, 0.07), (0.53, 0.05), (0.47, 0.05), (0.57, 0.07), (0.43, 0.07), (0.70, 0.20),
        (0.30, 0.20), (0.82, 0.36), (0.18, 0.36), (0.88, 0.50), (0.12, 0.50), (0.63, 0.52),
        (0.37, 0.52), (0.64, 0.74), (0.36, 0.74), (0.65, 0.96), (0.35, 0.96),
    ]
)  # fmt: skip


def make(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write annotations and results below ``folder``; return their paths."""
    import orjson

    random = np.random.default_rng(seed)
    image_ids = random.choice(600_000, IMAGES, replace=False) + 1
    people = np.where(random.random(IMAGES) < 0.54, random.geometric(0.245, IMAGES), 0)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image_id, count in zip(image_ids.tolist(), people.tolist(), strict=True):
        poses = []
        for _ in range(count):
            pose, annotation = _person(random, image_id, len(annotations) + 1)
            annotations.append(annotation)
            poses.append(pose)
        detections = max(1, int(random.lognormal(2.45, 0.85) + 2.2 * count))
        results += [_detection(random, image_id, poses) for _ in range(detections)]
    truth = {
        "images": [
            {"id": i, "file_name": f"{i:012}.jpg", "width": 640, "height": 480}
            for i in image_ids.tolist()
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    paths = folder / "annotations" / "person_keypoints_val2017.json", folder / "results.json"
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    paths[0].write_bytes(orjson.dumps(truth))
    paths[1].write_bytes(orjson.dumps(results))
    return paths


def _person(
    random: np.random.Generator, image_id: int, number: int
) -> tuple[np.ndarray, dict[str, Any]]:
    height = float(np.clip(random.lognormal(4.5, 0.8), 12, 470))
    size = np.array([height * random.uniform(0.3, 0.7), height])
    corner = random.random(2) * np.maximum(1, np.array([640, 480]) - size)
    joints = corner + (POSE + random.normal(0, 0.03, POSE.shape)) * size
    crowd = random.random() < 0.02
    unlabelled = crowd or random.random() < 0.41
    visible = np.where(random.random(17) < 0.68, random.integers(1, 3, 17), 0)
    visible[random.integers(17)] = 2
    visible *= not unlabelled
    keypoints = np.concatenate([joints.round() * (visible > 0)[:, None], visible[:, None]], axis=1)
    outline = corner + random.random((25, 2)) * size
    return joints, {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": int(crowd),
        "num_keypoints": int((visible > 0).sum()),
        "keypoints": keypoints.astype(int).ravel().tolist(),
        "area": float((size.prod() * random.uniform(0.4, 0.7)).round(4)),
        "bbox": [*corner.round(2).tolist(), *size.round(2).tolist()],
        "segmentation": [outline.round(2).ravel().tolist()],
    }


def _detection(
    random: np.random.Generator, image_id: int, poses: list[np.ndarray]
) -> dict[str, Any]:
    if poses and random.random() < 0.35:  # of somebody, more or less exact
        pose = poses[random.integers(len(poses))]
        noise = random.lognormal(-3.6, 0.9)
        score = random.beta(4, 1 + 20 * noise)
    else:
        pose = random.random(2) * (480, 360) + POSE * random.lognormal(4.3, 0.7) * (0.5, 1)
        noise, score = 0.1, random.beta(1, 8)
    joints = pose + random.normal(0, noise, POSE.shape) * np.ptp(pose[:, 1])
    rows = np.concatenate([joints, random.random((17, 1))], axis=1).astype(np.float32)
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": rows.ravel().tolist(),
        "score": float(score),
    }


def pycocotools(truth: Path, results: Path, draws: int) -> dict[str, Any]:
    """The reference."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return _official_interface(COCO, COCOeval, truth, results)


def hotcoco(truth: Path, results: Path, draws: int) -> dict[str, Any]:
    """A one-author engine in Rust with the interface of pycocotools."""
    from hotcoco import COCO, COCOeval

    return _official_interface(COCO, COCOeval, truth, results)


def faster_coco_eval(truth: Path, results: Path, draws: int) -> dict[str, Any]:
    """A C++ engine with the interface of pycocotools."""
    from faster_coco_eval import COCO, COCOeval_faster

    return _official_interface(COCO, COCOeval_faster, truth, results)


def _official_interface(coco: Any, evaluator: Any, truth: Path, results: Path) -> dict[str, Any]:
    start = time.perf_counter()
    annotated = coco(str(truth))
    detected = annotated.loadRes(str(results))
    loaded = time.perf_counter()
    run = evaluator(annotated, detected, "keypoints")
    run.evaluate()
    run.accumulate()
    run.summarize()
    done = time.perf_counter()
    return {
        "load": loaded - start,
        "evaluate": done - loaded,
        "stats": [float(s) for s in run.stats],
    }


def pose_harness(truth: Path, results: Path, draws: int) -> dict[str, Any]:
    """Ours, through the public benchmark, and the bootstrap."""
    from benchmarks.protocols.coco import Coco

    benchmark = Coco()
    protocol = benchmark.protocol()
    start = time.perf_counter()
    dataset = benchmark.load(truth.parents[1], "val2017")
    predictions = benchmark.read_predictions(results, dataset, protocol)
    loaded = time.perf_counter()
    statistics = benchmark.statistics(dataset, predictions, protocol)
    metrics = benchmark.compute(statistics, protocol)
    done = time.perf_counter()
    names = [column.metric for column in benchmark.columns]
    report = {
        "load": loaded - start,
        "evaluate": done - loaded,
        "stats": [metrics[name] for name in names],
        "images": len(dataset.sample_ids),
        "people": int((dataset.truth.num_keypoints > 0).sum()),
        "detections": len(predictions.columns["score"]),
        "kept": len(statistics.ragged("score").values),
        "peak_mb": peak_mb(),
    }
    size = len(statistics)
    weights = np.random.default_rng(1).multinomial(size, np.full(size, 1 / size), draws)
    start = time.perf_counter()
    benchmark.resample(statistics, protocol, weights)
    report["bootstrap"] = time.perf_counter() - start
    return report


def peak_mb() -> float:
    """Return the largest memory that this process has had."""
    # Not ru_maxrss: a child starts with its parent's.
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def run(engine: str, truth: Path, results: Path, draws: int) -> dict[str, Any]:
    """Run one engine in a process of its own; return its report."""
    command = [sys.executable, __file__, "--engine", engine, "--draws", str(draws)]
    done = subprocess.run(
        [*command, "--truth", str(truth), "--results", str(results)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def table(reports: dict[str, dict[str, Any]], draws: int) -> bool:
    """Print all reports beside the reference; return whether the targets are met."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    ours, reference = reports["pose-harness"], reports[REFERENCE]
    console.print(
        f"{ours['images']:,} images, {ours['people']:,} people with keypoints, "
        f"{ours['detections']:,} detections, {ours['kept']:,} among the best 20"
    )
    grid = Table("engine", *(
        "load s", "evaluate s", "total s", "x evaluate", "x total", "peak MB", "ten numbers"
    ))  # fmt: skip
    whole = reference["load"] + reference["evaluate"]
    for name, report in reports.items():
        total = report["load"] + report["evaluate"]
        difference = np.abs(np.subtract(report["stats"], reference["stats"])).max()
        grid.add_row(
            name,
            f"{report['load']:.3f}",
            f"{report['evaluate']:.3f}",
            f"{total:.3f}",
            f"{reference['evaluate'] / report['evaluate']:.1f}",
            f"{whole / total:.1f}",
            f"{report['peak_mb']:.0f}",
            "equal" if difference == 0 else f"differ by {difference:.1e}",
        )
    console.print(grid)
    console.print(
        f"{draws:,} bootstrap draws: {ours['bootstrap']:.2f} s "
        f"(one run of pycocotools, loading included: {whole:.2f} s)"
    )
    return bool(
        reference["evaluate"] >= EVALUATE_TARGET * ours["evaluate"]
        and whole >= LOADED_TARGET * (ours["load"] + ours["evaluate"])
        and ours["bootstrap"] < whole
        and ours["stats"] == reference["stats"]
    )


def main() -> int:
    """Compare all engines that are installed; exit 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep the generated files here")
    parser.add_argument("--rounds", type=int, default=3, help="runs of every engine")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    parser.add_argument("--engine", choices=MODULES, help=argparse.SUPPRESS)
    parser.add_argument("--truth", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        function = globals()[arguments.engine.replace("-", "_")]
        report = function(arguments.truth, arguments.results, arguments.draws)
        print("\n" + json.dumps({"peak_mb": peak_mb()} | report))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        truth, results = make(arguments.folder or Path(temporary))
        engines = [name for name, module in MODULES.items() if find_spec(module)]
        rounds = [
            {name: run(name, truth, results, arguments.draws) for name in engines}
            for _ in range(arguments.rounds)
        ]
    timed = ("load", "evaluate", "bootstrap")
    reports = {
        name: {
            key: min(each[name][key] for each in rounds) if key in timed else value
            for key, value in rounds[0][name].items()
        }
        for name in engines
    }
    met = table(reports, arguments.draws)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
