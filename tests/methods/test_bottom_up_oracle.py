"""Ground truth encoded as network output decodes to itself: the grouping loses nobody.

The input is larger than the papers' so that two joints of one kind are not the same pixel, and so
that rounding to pixels does not count. OpenPose can only find people whose labelled joints hang
together by limbs, which is said for each data set.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from bottom_up_oracle import joined, only, oracle, sized

from benchmarks.world.coco import annotate, draw_picture
from benchmarks.world.draw import draw
from benchmarks.world.scene import sample_scene
from harness import registry

WORLD_PICTURES = 8


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A few pictures of the embedded world."""
    pairs = [
        annotate("embedded-val", i, draw_picture("embedded-val", i)) for i in range(WORLD_PICTURES)
    ]
    return written(pairs, tmp_path_factory.mktemp("world"))


def written(pairs, root):
    """Write COCO's records of pictures and their people, and load them."""
    content = {
        "images": [image for image, _ in pairs],
        "annotations": [person for _, people in pairs for person in people],
        "categories": [{"id": 1, "name": "person"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "person_keypoints_world.json").write_text(json.dumps(content))
    return registry.benchmark("coco").load(root, "world")


CROWDS = (23, 30)
"""Scenes of the embedded world in which more than twenty people are seen well enough."""


@pytest.fixture(scope="module")
def crowds(tmp_path_factory):
    """Crowds of the embedded world, drawn three times as fine as its pictures."""
    pairs = []
    for seed in CROWDS:
        random = np.random.default_rng(seed)
        scene = sample_scene(random, count=28)
        camera = scene.camera
        finer = {"focal": 3 * camera.focal, "size": (3 * camera.size[0], 3 * camera.size[1])}
        scene = dataclasses.replace(scene, camera=dataclasses.replace(camera, **finer))
        pairs.append(annotate("embedded-val", 10 * seed, draw(scene, random)))  # 10: ids differ
    dataset = written(pairs, tmp_path_factory.mktemp("crowds"))
    return only(dataset, dataset.truth.num_keypoints > 0)


def crowded(dataset, count):
    """Return the images with the most labelled people."""
    truth = dataset.truth
    people = np.bincount(truth.image[truth.num_keypoints > 0], minlength=len(truth.image_id))
    return set(np.argsort(-people, kind="stable")[:count].tolist())


def read_tags(method, targets):
    """Give every person a tag of its own at its joints' pixels, ten apart."""
    maps = targets["maps"]
    tags = np.zeros((len(maps), maps[0].size), np.float32)
    for person, places in enumerate(targets["places"]):
        seen = np.flatnonzero(places >= 0)
        tags[seen, places[seen]] = 10 * person
    tags = tags.reshape(1, *maps.shape, 1)
    return method.read(torch.from_numpy(maps[None]), torch.from_numpy(tags))


def read_fields(method, targets):
    maps, fields = (torch.from_numpy(targets[name])[None] for name in ("maps", "fields"))
    return method.read([(1.0, maps, fields)])


def openpose(size, release, skeleton, parts="openpose-18", upsampling=4):
    """Build OpenPose without the half pixel that some releases add, which the truth has not."""
    tiny = {"widths": [4] * 5, "deep": 0, "width": 4, "hidden": 4}
    method = sized("openpose:nano", (size, size), skeleton, release=release, fit="height",
                   arguments=tiny, upsampling=upsampling, parts=parts, sigma=7.0,
                   rules={"offset": 0.0})  # fmt: skip
    method.read_targets = lambda targets: read_fields(method, targets)
    return method


def associative_embedding(size, skeleton):
    tiny = {"stacks": 1, "width": 4, "increase": 0, "stem": 4}
    method = sized(
        "associative-embedding:hourglass4-512x512", (size, size), skeleton, arguments=tiny
    )
    method.read_targets = lambda targets: read_tags(method, targets)
    return method


def read_ways(method, targets):
    """Answer with sure parts, the surer the nearer their joint, and with exact ways."""
    owner, people = (torch.from_numpy(targets[name]) for name in ("owner", "people"))
    joints, height, width = owner.shape
    own = people[owner.clamp(min=0).flatten(1)]  # (K, cells, K, 2)
    ways = own - method.cells(torch.arange(height * width), width)[:, None]
    joint = torch.arange(joints)
    offsets = ways[joint, :, joint]
    parts = torch.where(owner.flatten(1) < 0, -8, 6 - offsets.norm(dim=-1) / method.radius)
    pairs = ways[method.pairs[:, 0], :, method.pairs[:, 1]]
    fields = (field.transpose(1, 2).unflatten(2, (height, width)) for field in (offsets, pairs))
    return method.read(parts.view(1, joints, height, width), *(field[None] for field in fields))


def deepercut(size, skeleton):
    """Build DeeperCut, which keeps two detections of a joint apart less widely than officially."""
    tiny = {"blocks": [1] * 4, "planes": [4] * 4, "bottleneck": False, "early": 1}
    method = sized("deepercut:r101-640x640", size, skeleton, arguments=tiny, pairs="graph",
                   apart=1.0, radius=8.0, near=10.0, detections=400)  # fmt: skip
    method.read_targets = lambda targets: read_ways(method, targets)
    return method


def connected(method, dataset):
    """Keep the people that the method's limbs can find: labelled joints that hang together."""
    truth = dataset.truth
    _, visible = method.with_middles(truth.keypoints[..., :2], truth.labelled)
    closing = 2 if method.parts.name == "openpose-18" else 0
    limbs = method.parts.limbs[: len(method.parts.limbs) - closing]
    return only(dataset, joined(visible, limbs, method.rules.least_parts))


@pytest.mark.parametrize("release", ["python", "c++", "lightweight"])
def test_openpose_finds_the_embedded_world(world, release):
    benchmark = registry.benchmark("coco")
    # Python's blur is measured in pixels of the grown maps.
    size, upsampling = (368, 8) if release == "python" else (736, 4)
    method = openpose(size, release, benchmark.skeleton, upsampling=upsampling)
    dataset = connected(method, world)
    assert len(dataset.truth.id) > WORLD_PICTURES
    assert oracle(benchmark, dataset, method)["AP"] >= 0.98


def test_tags_find_the_embedded_world(world):
    benchmark = registry.benchmark("coco")
    method = associative_embedding(1024, benchmark.skeleton)
    dataset = only(world, world.truth.num_keypoints > 0)
    assert oracle(benchmark, dataset, method)["AP"] >= 0.98


def test_deepercut_finds_the_embedded_world(world):
    benchmark = registry.benchmark("coco")
    method = deepercut((480, 640), benchmark.skeleton)
    dataset = only(world, world.truth.num_keypoints > 0)
    assert oracle(benchmark, dataset, method)["AP"] >= 0.98


@pytest.mark.parametrize("name", ["openpose", "associative-embedding", "deepercut"])
def test_crowds_of_the_embedded_world_are_found(crowds, name):
    benchmark = registry.benchmark("coco")
    dataset, skeleton = crowds, benchmark.skeleton
    if name == "openpose":
        method = openpose(2208, "python", skeleton)
        dataset = connected(method, dataset)
    elif name == "deepercut":
        method = deepercut((1280, 1280), skeleton)
    else:
        method = associative_embedding(1536, skeleton)
    assert np.bincount(dataset.truth.image).max() >= 20
    protocol = dataclasses.replace(benchmark.protocol(), max_detections=30)
    assert oracle(benchmark, dataset, method, protocol=protocol)["AP"] >= 0.98


def test_openpose_finds_real_people(shared_data):
    """Six times the usual size: joints of one kind that are closer than their Gaussians are one."""
    benchmark = registry.benchmark("coco")
    dataset = benchmark.load(shared_data / "coco" / "val538", "val2017")
    method = openpose(2208, "python", benchmark.skeleton)
    metrics = oracle(benchmark, connected(method, dataset), method, crowded(dataset, 3))
    assert metrics["AP50"] == 1.0
    assert metrics["AP"] >= 0.98


CROWDPOSE_TREE = (
    (13, 12), (13, 0), (13, 1), (0, 2), (2, 4), (1, 3), (3, 5), (0, 6), (6, 8), (8, 10),
    (1, 7), (7, 9), (9, 11),
)  # fmt: skip
"""CrowdPose's joints from the neck to the ends, as OpenPose's assembly needs its limbs."""


def test_openpose_finds_real_crowds(shared_data):
    """With CrowdPose's own joints as parts: OpenPose's have no top of the head."""
    benchmark = registry.benchmark("crowdpose")
    dataset = benchmark.load(shared_data / "crowdpose", "val")
    method = openpose(2208, "python", benchmark.skeleton, parts="crowdpose-14")
    method.parts = dataclasses.replace(method.parts, limbs=CROWDPOSE_TREE)
    method.field_order = np.arange(len(CROWDPOSE_TREE))
    people = connected(method, only(dataset, dataset.truth.num_keypoints > 0))
    assert oracle(benchmark, people, method, crowded(people, 3))["AP"] >= 0.98


@pytest.mark.parametrize("name", ["coco", "crowdpose"])
def test_the_neck_is_the_middle_of_the_shoulders(name):
    """CrowdPose's own neck is another point."""
    skeleton = registry.benchmark(name).skeleton
    method = openpose(368, "python", skeleton)
    joints = np.random.default_rng(0).uniform(0, 300, (3, len(skeleton), 2))
    visible = np.ones((3, len(skeleton)), bool)
    visible[1, skeleton.joints.index("left_shoulder")] = False
    places, known = method.with_middles(joints, visible)
    neck = method.parts.joints.index("neck")
    shoulders = [skeleton.joints.index(f"{side}_shoulder") for side in ("left", "right")]
    np.testing.assert_array_equal(known[:, neck], [True, False, True])
    np.testing.assert_allclose(places[0, neck], joints[0, shoulders].mean(axis=0))


def test_tags_find_real_people(shared_data):
    benchmark = registry.benchmark("coco")
    dataset = benchmark.load(shared_data / "coco" / "val538", "val2017")
    method = associative_embedding(1536, benchmark.skeleton)
    people = only(dataset, dataset.truth.num_keypoints > 0)
    assert oracle(benchmark, people, method, crowded(dataset, 10))["AP"] >= 0.98


def test_tags_find_real_crowds(shared_data):
    benchmark = registry.benchmark("crowdpose")
    dataset = benchmark.load(shared_data / "crowdpose", "val")
    people = only(dataset, dataset.truth.num_keypoints > 0)
    method = associative_embedding(1536, benchmark.skeleton)
    assert oracle(benchmark, people, method, crowded(dataset, 8))["AP"] >= 0.98


@pytest.mark.parametrize("name", ["coco", "crowdpose"])
def test_deepercut_finds_real_crowds(shared_data, name):
    """Thirteen people of seventeen joints are more detections than the usual 150."""
    benchmark = registry.benchmark(name)
    root, split = {"coco": ("coco/val538", "val2017"), "crowdpose": ("crowdpose", "val")}[name]
    dataset = benchmark.load(shared_data / root, split)
    people = only(dataset, dataset.truth.num_keypoints > 0)
    method = deepercut((1280, 1280), benchmark.skeleton)
    assert oracle(benchmark, people, method, crowded(people, 2))["AP"] >= 0.98
