"""Time the grouping of the bottom-up methods against the number of people in an image.

From the arrays that leave the device to people in image pixels, one image at a time, on one core.
Milliseconds are processor time, the median of several crowds. A quarter of the joints is missing
and a tenth of the peaks belongs to nobody; at 640 x 480 pixels crowds of 50 and more overlap much
more than real ones, which is the worst case.

DeeperCut's integer programme is also told stage by stage.

    OMP_NUM_THREADS=1 python perf/grouping.py [--people 1,5,10,20,50,100] [--crowds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from harness.api import COCO_17, Method, Prepared, Sample
from harness.loading import load_method
from methods.parts.crop import transform
from methods.parts.whole_image import fitted

IMAGE = (640, 480)
Outputs = dict[str, NDArray[np.float32]]


def crowd(
    people: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return upright people (n, 17, 2) all over the image, and which joints are seen."""
    pose = np.stack([
        [0, 2, -2, 5, -5, 14, -14, 20, -20, 24, -24, 10, -10, 12, -12, 13, -13],
        [-60, -63, -63, -61, -61, -45, -45, -22, -22, 0, 0, 0, 0, 38, 38, 72, 72],
    ], axis=1) / 140.0  # fmt: skip
    height = random.uniform(120, 320, (people, 1, 1)) / max(1.0, np.sqrt(people / 12))
    middle = random.uniform((20, 60), (IMAGE[0] - 20, IMAGE[1] - 60), (people, 1, 2))
    joints = middle + pose * height + random.normal(0, 0.02, (people, 17, 2)) * height
    inside = ((joints >= 0) & (joints < np.array(IMAGE) - 1)).all(axis=-1)
    return joints, inside & (random.random((people, 17)) < 0.75)


def openpose(method: Method, people: int, random: np.random.Generator) -> tuple[Outputs, Prepared]:
    """Return an ideal answer of OpenPose with peaks of nobody among it."""
    joints, seen = crowd(people, random)
    matrix, method.input_size = fitted(IMAGE, (368, 368), method.fitting, method.multiple)
    targets = method.targets(transform(joints, matrix), seen)
    maps, fields = (torch.from_numpy(targets[name])[None] for name in ("maps", "fields"))
    maps[0, :, 3::17, 5::13] += 0.25 * (torch.rand(maps[0, :, 3::17, 5::13].shape) < 0.1)
    outputs = method.read([(1.0, maps, fields)])
    return {name: value.numpy() for name, value in outputs.items()}, Prepared({}, matrix)


def tags(method: Method, people: int, random: np.random.Generator) -> tuple[Outputs, Prepared]:
    """Return an answer of Associative Embedding: each pixel has the tags of the nearest person.

    Around a joint they are its person's. The maps are a little uneven: an even one, grown, would
    have four equally high pixels for every peak.
    """
    joints, seen = crowd(people, random)
    matrix, method.input_size = fitted(IMAGE, (512, 512), method.fitting, method.multiple)
    targets = method.targets(transform(joints, matrix), seen)
    maps = targets["maps"] + 0.01 + random.uniform(0, 1e-3, targets["maps"].shape)
    maps = maps.astype(np.float32)
    height, width = maps.shape[1:]
    y, x = np.mgrid[:height, :width] * method.stride
    centers = transform(joints, matrix).mean(axis=1)
    nearest = np.square(np.stack([x, y], axis=-1)[..., None, :] - centers).sum(axis=-1).argmin(-1)
    tag = 3.0 * nearest[None, ..., None] + random.normal(0, 0.1, (*maps.shape, 2))
    tag = tag.astype(np.float32)
    for person, places in enumerate(targets["places"]):
        for joint in np.flatnonzero(places >= 0):
            row, column = divmod(int(places[joint]), width)
            near = tag[joint, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            near[:] = 3 * person + random.normal(0, 0.1, near.shape)
    size = [int(length * method.upsampling) for length in maps.shape[-2:]]
    grown = [
        torch.nn.functional.interpolate(part, size=size, mode="bilinear", align_corners=False)
        for part in (torch.from_numpy(maps)[None], *torch.from_numpy(tag)[None].unbind(-1))
    ]
    outputs = method.read(grown[0], torch.stack(grown[1:], dim=-1))
    return {name: value.numpy() for name, value in outputs.items()}, Prepared({}, matrix)


def detections(
    method: Method, people: int, random: np.random.Generator
) -> tuple[Outputs, Prepared]:
    """Return detections as DeeperCut reads them, with log odds that are wrong now and then."""
    joints, seen = crowd(people, random)
    matrix, _ = fitted(IMAGE, method.input_size, method.fitting, method.multiple)
    person, joint = np.nonzero(seen)
    point = transform(joints, matrix)[person, joint]
    nobodys = random.choice(len(joint), len(joint) // 10)
    point = np.concatenate([point, point[nobodys] + random.normal(0, 20, (len(nobodys), 2))])
    person = np.concatenate([person, people + np.arange(len(nobodys))])
    joint = np.concatenate([joint, random.integers(0, 17, len(nobodys))])
    score = np.where(
        person < people, *random.uniform([[0.3], [0.2]], [[0.99], [0.6]], (2, len(joint)))
    )
    order = np.argsort(-score)[: method.most]
    person, joint, score, point = (part[order] for part in (person, joint, score, point))
    mean = np.where(person[:, None] == person, 3.0, -5.0)
    odds = np.triu(random.normal(mean, 2.0), 1)
    kinds = np.maximum(method.edge, method.edge.T)[joint[:, None], joint]
    odds = np.where((kinds >= 0) | (joint[:, None] == joint), odds + odds.T, 0)
    outputs = {"joint": joint, "score": score, "point": point, "together": odds}
    return {name: value[None] for name, value in outputs.items()}, Prepared({}, matrix)


Make = Callable[[Method, int, np.random.Generator], tuple[Outputs, Prepared]]
CASES: dict[str, Make] = {
    "openpose:coco18-368x368": openpose,
    "openpose:coco18-cpp-368x368": openpose,
    "openpose:lightweight-368x368": openpose,
    "associative-embedding:hourglass4-512x512": tags,
    "associative-embedding:hrnet-w32-512x512": tags,
    "deepercut:r101-640x640": detections,
}
STAGED = "deepercut:r101-640x640"


def milliseconds(spec: str, make: Make, people: int, crowds: int) -> tuple[float, float]:
    """Return the median time of decoding an image, and the mean number of people found."""
    with torch.device("meta"):
        method = load_method(spec, skeleton=COCO_17)
    seconds, found = [], []
    for seed in range(crowds):
        outputs, prepared = make(method, people, np.random.default_rng(seed))
        for _ in range(2):  # the first pass warms up
            start = time.process_time()
            rows = method.decode(outputs, prepared, Sample("1"))
            passed = time.process_time() - start
        seconds.append(passed)
        found.append(len(rows["score"]))
    return float(np.median(seconds)) * 1e3, float(np.mean(found))


def stages(people: int, crowds: int) -> Iterator[str]:
    """Yield each stage of DeeperCut's optimisation: medians, and the largest gap."""
    with torch.device("meta"):
        method = load_method(STAGED, skeleton=COCO_17)
    told = [
        method.partition(detections(method, people, np.random.default_rng(seed))[0])[1]
        for seed in range(crowds)
    ]
    for number, stage in enumerate(zip(*told, strict=True), 1):
        count = np.median([part.detections for part in stage])
        passed = np.median([part.seconds for part in stage]) * 1e3
        gap = max(part.gap for part in stage)
        yield f"{people:6}{number:6}{count:12.0f}{passed:14.1f}{gap:9.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", default="1,5,10,20,50,100")
    parser.add_argument("--crowds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'milliseconds (people found)':44}", *(f"{n:>13}" for n in options.people.split(",")))
    for spec, make in CASES.items():
        print(f"{spec:44}", end="", flush=True)
        for people in map(int, options.people.split(",")):
            passed, found = milliseconds(spec, make, people, options.crowds)
            print(f" {passed:7.1f} ({found:3.0f})", end="", flush=True)
        print()
    print(f"{STAGED}: people, stage, detections, milliseconds, largest gap")
    for people in map(int, options.people.split(",")):
        for line in stages(people, options.crowds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
