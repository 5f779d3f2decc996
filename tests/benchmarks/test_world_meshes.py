"""Pictures of the embedded world with true meshes, and the files of meshes that a user makes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.protocols.h36m_mesh import H36MMesh
from benchmarks.world import body, meshes
from benchmarks.world.draw import draw
from benchmarks.world.mesh import kept_vertices
from benchmarks.world.scene import Light, Scene
from harness.api import MESH, Predictions, PrerequisiteError
from harness.api.skeleton import COCO_MPII_21, H36M_17, H36M_17_REGRESSOR
from methods.mesh.body_model import BodyModel, embedded_body
from methods.parts.rotation import matrix_of_axis_angle

BENCHMARK = H36MMesh()
PICTURES = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("meshes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meshes, "SPLITS", {"embedded-val": (2, PICTURES)})
        meshes.make_split(root, "embedded-val", workers=1)
    return root


def test_the_benchmark_reads_what_the_world_writes(world):
    assert BENCHMARK.splits(world) == ("embedded-val",)
    dataset = BENCHMARK.load(world, "embedded-val")
    assert dataset.synthetic
    assert dataset.split == "embedded-val"
    for index, sample in enumerate(BENCHMARK.samples(dataset, BENCHMARK.protocol())):
        shown = meshes.show("embedded-val", index)
        assert sample.read_image().shape == (224, 224, 3)
        np.testing.assert_allclose(sample.boxes[0], shown.box, atol=1e-3)
        np.testing.assert_allclose(dataset.truth.vertices[index], 1000 * shown.vertices, atol=1e-3)


def test_a_split_has_the_same_bytes_each_time(world, tmp_path, monkeypatch):
    monkeypatch.setattr(meshes, "SPLITS", {"embedded-val": (2, PICTURES)})
    meshes.make_split(tmp_path, "embedded-val", workers=2)
    first, second = (
        {p.relative_to(root): p.read_bytes() for p in sorted((root / "embedded-val").rglob("*.*"))}
        for root in (world, tmp_path)
    )
    assert first == second
    with pytest.raises(PrerequisiteError, match="no embedded split 'embedded-test' of h36m-mesh"):
        meshes.make_split(tmp_path, "embedded-test")


@pytest.mark.parametrize("index", range(6))
def test_the_mesh_is_the_surface_that_is_drawn(index):
    shown = meshes.show("embedded-train", index)
    figure = shown.person.figure()
    # Hands and noses wear nothing: there the figure's surface is the body's own.
    part, kept = body.template().vertex_part, kept_vertices()
    bare = np.isin(part[kept], [body.PART[name] for name in ("nose", "left hand", "right thumb")])
    away = (figure.vertices[kept[bare]] - figure.joints[0]) @ shown.camera.rotation.T
    np.testing.assert_allclose(shown.vertices[bare], away + body.REST[0], atol=1e-5)
    # The rest is in the person's outline, or at most a pixel beside it.
    light = Light(np.array([0.0, 1, 0]), 0.5, 0.5, (1, 1, 1))
    scene = Scene(shown.camera, light, (shown.person,), (), False, 0)
    owner = draw(scene, np.random.default_rng(0)).owner  # 0 is nobody
    person = cv2.dilate((owner == 1).astype(np.uint8), np.ones((3, 3), np.uint8))
    at_pelvis = shown.vertices - body.REST[0]
    pixels, _ = shown.camera.project(at_pelvis @ shown.camera.rotation + figure.joints[0])
    x, y = pixels.round().astype(int).T
    assert person[y, x].mean() > 0.99
    assert person.mean() < 0.3
    np.testing.assert_allclose(pixels.min(axis=0), shown.box[:2], atol=1e-3)


@pytest.mark.parametrize("index", range(6))
def test_joints_are_where_the_pictures_joints_are(index):
    shown = meshes.show("embedded-train", index)
    pixels, _ = shown.camera.project(shown.person.figure().keypoints)
    for name in ("left_wrist", "right_wrist", "left_knee", "right_ankle", "left_elbow"):
        found = shown.keypoints[H36M_17_REGRESSOR.joints.index(name)]
        assert np.linalg.norm(found - pixels[COCO_MPII_21.joints.index(name)]) < 2


def test_the_body_models_parameters_make_the_mesh(world):
    dataset = BENCHMARK.load(world, "embedded-val")
    samples = BENCHMARK.training_samples(dataset, H36M_17_REGRESSOR)
    model = BodyModel(embedded_body())
    for _, truth in samples:
        rotations = matrix_of_axis_angle(torch.from_numpy(truth["pose"])).float()
        vertices, _ = model(rotations, torch.from_numpy(truth["shape"]).float())
        apart = np.linalg.norm(1000 * vertices.numpy() - truth["vertices"], axis=-1)
        assert apart.mean() < 8  # the shapes of the model are linear, the world's builds are not
        np.testing.assert_allclose(truth["joints"], dataset.truth.regressor @ truth["vertices"])


def test_the_truth_scores_zero_and_a_turned_mesh_does_not(world):
    dataset, protocol = BENCHMARK.load(world, "embedded-val"), BENCHMARK.protocol()

    def metrics(vertices):
        rows = [
            (name, {"vertices": mesh[None], "joints": dataset.truth.regressor @ mesh[None]})
            for name, mesh in zip(dataset.sample_ids, vertices, strict=True)
        ]
        predictions = Predictions.from_samples(MESH, rows)
        return BENCHMARK.compute(BENCHMARK.statistics(dataset, predictions, protocol), protocol)

    truth = dataset.truth.vertices
    assert max(metrics(truth).values()) < 1e-6
    turned = metrics(truth * [-1, 1, -1])
    assert turned["mpjpe"] > 50
    assert turned["pve_pa"] < 1e-6


def test_pictures_are_needed_to_look_at_and_parameters_to_learn_from(world, tmp_path):
    with np.load(world / "embedded-val" / "mesh.npz") as file:
        content = dict(file)
    blind = {k: v for k, v in content.items() if k != "imgname"}
    np.savez(tmp_path / "mesh.npz", **blind)
    with pytest.raises(PrerequisiteError, match="names no images"):
        BENCHMARK.samples(BENCHMARK.load(tmp_path, "test"), BENCHMARK.protocol())
    np.savez(tmp_path / "mesh.npz", **{k: v for k, v in content.items() if k != "pose"})
    with pytest.raises(PrerequisiteError, match="no part, pose and shape"):
        BENCHMARK.training_samples(BENCHMARK.load(tmp_path, "test"), H36M_17_REGRESSOR)
    with pytest.raises(PrerequisiteError, match="h36m-17-regressor"):
        BENCHMARK.training_samples(BENCHMARK.load(world, "embedded-val"), H36M_17)
    dataset = BENCHMARK.load(world, "embedded-val")
    with pytest.raises(PrerequisiteError, match="take no detections"):
        BENCHMARK.samples(dataset, BENCHMARK.protocol(), tmp_path / "boxes.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "inch"}, "unit is 'inch'"),
        ({"box": np.zeros((PICTURES, 3))}, r"box has shape \(3, 3\), due is \(3, 4\)"),
        ({"J_regressor_h36m": np.zeros((24, 9))}, "J_regressor_h36m has shape"),
        ({"imgname": np.array(["a.jpg"])}, "1 names in imgname, 3 meshes"),
        ({"part": np.full((PICTURES, 17, 2), np.nan)}, r"part is not all finite.*\(0, 0, 0\)"),
    ],
)
def test_wrong_arrays_are_named(world, tmp_path, change, message):
    with np.load(world / "embedded-val" / "mesh.npz") as file:
        np.savez(tmp_path / "mesh.npz", **{**dict(file), **change})
    with pytest.raises(PrerequisiteError, match=message):
        BENCHMARK.load(tmp_path, "test")


def test_wrong_files_are_named(tmp_path):
    (tmp_path / "mesh.npz").write_bytes(b"no zip")
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        BENCHMARK.load(tmp_path, "test")
    (tmp_path / "mesh.npz").unlink()
    with pytest.raises(PrerequisiteError, match="no split 'test'") as error:
        BENCHMARK.load(tmp_path, "test")
    assert "mesh.json" in error.value.remedy
    content = {"unit": "mm", "gt_vertices": [[[0, 0]]], "J_regressor_h36m": [[1]]}
    (tmp_path / "mesh.json").write_text(json.dumps(content))
    with pytest.raises(PrerequisiteError, match="gt_vertices has shape"):
        BENCHMARK.load(tmp_path, "test")
