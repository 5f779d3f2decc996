"""HMR, GraphCMR and the mean mesh: networks, coarse meshes, and what they learn from."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from benchmarks.protocols.h36m_mesh import H36MMesh
from benchmarks.world import body, meshes
from benchmarks.world.poses import sample_pose
from harness.api import PrerequisiteError, Sample
from harness.api.skeleton import H36M_17_REGRESSOR
from harness.checkpoint import read_state
from harness.conformance import conformance
from harness.loading import load_method
from harness.profiling import profile
from methods.mesh.body_model import BodyModel, embedded_body
from methods.mesh.coarse import adjacency, coarsen, edges, smpl_coarse
from methods.mesh.graph import SMPLParamRegressor
from methods.mesh.hmr import Discriminator
from methods.mesh.picture_mesh import View, project
from methods.parts.procrustes import procrustes


def count(module):
    return sum(p.numel() for p in module.parameters())


# --- networks -------------------------------------------------------------------------------------


def test_hmr_costs_what_was_measured():
    with torch.device("meta"):
        method = load_method("hmr:r50-224x224")
    found = profile(method, latency=False)
    assert found.parameters == 26_829_973
    assert round(found.macs / 1e9, 3) == 4.097
    assert round(found.paper_gflops, 3) == 3.816
    parts = {name: count(part) for name, part in method.network.named_children()}
    assert parts == {"encoder": 23_508_032, "regressor": 3_321_941}
    assert len(method.network.state_dict()) == 324 + 1  # the mean parameters
    assert count(Discriminator()) == 1_807_619


def test_hmr_starts_at_the_mean_and_corrects_three_times():
    network = load_method("hmr:nano").network
    for layer in network.regressor.fc_blocks:
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.constant_(layer.bias, 0.1)
    steps = network(torch.zeros(2, 3, 96, 96))
    assert steps.shape == (2, 3, 3 + 57 + 7)
    moved = steps - network.regressor.mean_theta
    expected = torch.tensor([0.1, 0.2, 0.3])[None, :, None].expand_as(moved)
    assert torch.allclose(moved, expected, atol=1e-6)


def test_weak_perspective_shifts_before_it_scales():
    points, camera = torch.tensor([[[1.0, 2, 9]]]), torch.tensor([[0.5, 0.1, -0.2]])
    assert torch.allclose(project(points, camera), torch.tensor([[[0.55, 0.9]]]))


def test_discriminator_scores_each_joint_the_shape_and_the_pose():
    assert Discriminator()(torch.rand(2, 23, 3, 3), torch.rand(2, 10)).shape == (2, 25)


def test_graphcmr_costs_what_was_measured():
    with torch.device("meta"):
        method = load_method("graphcmr:r50-224x224")
    found = profile(method, latency=False)
    assert found.registered_parameters == 42_668_098
    assert found.registered_parameters - found.parameters == 2_377_960  # dead
    assert round(found.macs / 1e9, 3) == 9.518  # the graph's products as of dense matrices
    assert round(found.paper_gflops, 3) == 3.832
    graph, regressor = method.network.graph_cnn, method.network.smpl_param_regressor
    assert (count(graph), count(regressor)) == (27_640_672, 15_027_426)
    state = method.network.state_dict()
    assert len(state) == 481
    for name, shape in {
        "graph_cnn.gc.0.W": (512, 2051), "graph_cnn.gc.1.conv.weight": (128, 128),
        "graph_cnn.shape.4.W": (3, 32), "graph_cnn.camera_fc.4.weight": (3, 1723),
        "smpl_param_regressor.layers.0.fc_block.0.weight": (1024, 10338),
    }.items():  # fmt: skip
        assert tuple(state[name].shape) == shape


def test_the_regressor_of_parameters_answers_rotations():
    regressor = SMPLParamRegressor(30, joints=5, shapes=2, width=16).eval()
    rotations, shape = regressor(torch.rand(4, 30, 6))
    assert rotations.shape == (4, 5, 3, 3)
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(4, 5), atol=1e-5)
    assert shape.shape == (4, 2)


def test_the_parameters_teach_the_graph_nothing():
    network = load_method("graphcmr:nano").network
    graph = torch.eye(353), torch.rand(353, 3)
    _, _, rotations, shape = network(torch.rand(2, 3, 96, 96), *graph)
    (rotations.sum() + shape.sum()).backward()
    assert all(p.grad is None for p in network.graph_cnn.parameters())
    vertices, camera, _, _ = network(torch.rand(2, 3, 96, 96), *graph)
    (vertices.sum() + camera.sum()).backward()
    assert network.graph_cnn.resnet.conv1.weight.grad.abs().sum() > 0


def test_official_checkpoints_hold_two_networks(tmp_path):
    network = load_method("graphcmr:nano").network
    parts = {name: part.state_dict() for name, part in network.named_children()}
    optimizer = {"state": {0: {"step": torch.ones(())}}, "param_groups": [{"lr": 3e-4}]}
    torch.save({**parts, "optimizer": optimizer, "epoch": 49}, tmp_path / "checkpoint.pt")
    found = read_state(tmp_path / "checkpoint.pt")
    assert found.keys() == network.state_dict().keys()


# --- coarse meshes --------------------------------------------------------------------------------


def test_adjacency_takes_the_mean_of_vertex_and_neighbours():
    pairs = edges(np.array([[0, 1, 2], [1, 2, 3]]))
    assert len(pairs) == 2 * 5
    matrix = adjacency(pairs, 5).to_dense()
    assert torch.allclose(matrix.sum(dim=1), torch.ones(5))
    assert (matrix[0] > 0).tolist() == [True, True, True, False, False]
    assert matrix[1, 3] == pytest.approx(1 / 4)
    assert matrix[4, 4] == 1


def test_a_coarse_mesh_is_one_piece_and_leads_back():
    arrays = embedded_body()
    model = BodyModel(arrays)
    coarse = coarsen(arrays["v_template"], arrays["f"], 353)
    pieces, _ = connected_components(coarse.adjacency.to_dense().numpy())
    assert pieces == 1  # though the body's parts are meshes of their own
    assert coarse.template.abs().max() == pytest.approx(1, abs=0.02)
    up = coarse.up.to_dense()
    assert torch.allclose(up.sum(dim=1), torch.ones(len(up)))
    assert ((up > 0).sum(dim=1) <= 3).all()
    kept = up.argmax(dim=0)  # a chosen vertex is itself
    assert torch.allclose(up[kept], torch.eye(353), atol=1e-5)
    turns = torch.tensor(sample_pose(np.random.default_rng(1)).rotations[None]).float()
    vertices, _ = model(turns, torch.zeros(1, 7))
    back = coarse.refine(vertices[:, kept])
    assert (back - vertices).norm(dim=-1).mean() < 0.02
    assert coarse.refine(vertices[:0, kept]).shape == (0, *vertices.shape[1:])


def test_smpls_coarse_mesh_comes_from_the_official_file(tmp_path, monkeypatch):
    from scipy.sparse import csc_matrix

    monkeypatch.setenv("HARNESS_SMPL", str(tmp_path))
    vertices = np.array([[0.0, 0, 0], [2, 0, 0], [0, 4, 0], [0, 0, 1]])
    with pytest.raises(PrerequisiteError, match=r"mesh_downsampling\.npz cannot be read"):
        smpl_coarse(vertices)
    levels = {
        "A": [csc_matrix(np.ones((4, 4))), csc_matrix([[0, 1], [1, 0]])],
        "U": [csc_matrix([[1, 0], [0.5, 0.5], [0, 1], [0.25, 0.75]])],
        "D": [csc_matrix([[1, 0, 0, 0], [0, 0, 1, 0]])],
    }
    objects = {}
    for name, matrices in levels.items():
        objects[name] = np.empty(len(matrices), object)
        objects[name][:] = matrices
    np.savez(tmp_path / "mesh_downsampling.npz", **objects)
    coarse = smpl_coarse(vertices)
    assert torch.allclose(coarse.adjacency.to_dense(), torch.full((2, 2), 0.5))
    assert torch.allclose(coarse.template, torch.tensor([[-0.5, -1, -0.25], [-0.5, 1, -0.25]]))
    assert torch.allclose(coarse.refine(torch.eye(2)[None].repeat(1, 1, 2)[..., :3])[0, 3],
                          torch.tensor([0.25, 0.75, 0.25]))  # fmt: skip
    with pytest.raises(PrerequisiteError, match="a mesh of 4 vertices, the body has 3"):
        smpl_coarse(vertices[:3])


# --- training targets -----------------------------------------------------------------------------


class Seen(NamedTuple):
    """One picture of the embedded world, its truth, and the pixels of its joints."""

    sample: Sample
    truth: dict


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    root = tmp_path_factory.mktemp("meshes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meshes, "SPLITS", {"embedded-val": (2, 1)})
        meshes.make_split(root, "embedded-val", workers=1)
    benchmark = H36MMesh()
    dataset = benchmark.load(root, "embedded-val")
    return Seen(*benchmark.training_samples(dataset, H36M_17_REGRESSOR)[0])


VIEWS = {
    "as it is": View(),
    "aside": View(shift=(0.1, -0.05)),
    "larger": View(scale=0.8),
    "turned": View(angle=35.0),
    "mirrored": View(mirrored=True),
    "all": View(scale=1.2, angle=-20.0, mirrored=True, shift=(0.05, 0.02)),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("spec", ["hmr:nano", "graphcmr:nano", "smplr:nano"])
def test_targets_follow_the_view(seen, view, spec):
    method = load_method(spec)
    method.view = lambda random: view
    rows = method.training_rows(*seen, np.random.default_rng(0))
    found = {name: torch.from_numpy(values) for name, values in rows.items()}
    # The true parameters make the true joints, mirrored and turned as they are.
    _, joints = method.mesh(found["rotations"], found["shape"])
    assert (joints - joints[:, :1] - found["joints"]).norm(dim=-1).max() < 0.03
    # In the picture they are scaled and shifted, neither turned nor mirrored.
    plane, space = found["keypoints"][0], found["joints"][0, :, :2]
    plane, space = plane - plane.mean(dim=0), space - space.mean(dim=0)
    scale = (plane * space).sum() / (space**2).sum()
    assert scale > 0.3
    assert (plane - scale * space).norm(dim=-1).max() < 0.08  # perspective


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_places_of_volumes_follow_the_view(seen, view):
    method = load_method("smplr:nano")
    method.view = lambda random: view
    rows = method.training_rows(*seen, np.random.default_rng(0))
    rows = {name: torch.from_numpy(values) for name, values in rows.items()}
    places = method.true_places(rows)[0]
    for joint in ("left_knee", "right_elbow", "left_wrist", "right_ankle"):
        place = places[body.JOINTS.index(joint) - 1, :2]
        keypoint = rows["keypoints"][0, H36M_17_REGRESSOR.joints.index(joint)]
        assert (place - keypoint).norm() < 0.06  # perspective
    # Depth has the scale of the plane: places are the true points, scaled and shifted.
    points = method.tree.points(rows["rotations"], rows["shape"])[0]
    move = procrustes(points[None], places[None])
    assert torch.allclose(move(points[None])[0], places, atol=1e-4)
    assert torch.allclose(move.rotation[0], torch.eye(3), atol=1e-4)


def test_a_mirrored_crop_is_the_crops_mirror_image(seen):
    method = load_method("hmr:nano")
    plain, mirrored = (
        method._target(cv2.cvtColor(seen.sample.read_image(), cv2.COLOR_BGR2RGB),
                       method.regions(seen.sample), 0, {k: v[0] for k, v in seen.truth.items()},
                       View(mirrored=flip))
        for flip in (False, True)
    )  # fmt: skip
    flipped = plain["keypoints"][H36M_17_REGRESSOR.flip_order] * [-1, 1]
    np.testing.assert_allclose(mirrored["keypoints"], flipped, atol=0.05)  # a pixel of the picture
    difference = mirrored["crops"][:, ::-1].astype(float) - plain["crops"]
    assert np.abs(difference).mean() < 12


def test_bones_have_their_twin():
    twins = load_method("hmr:nano").mirrored_bones
    names = [body.JOINTS[twin] for twin in twins]
    swap = {"left": "right", "right": "left"}
    assert names == [
        "_".join([swap.get(word, word) for word in name.split("_")]) for name in body.JOINTS
    ]


def test_the_answered_camera_is_the_pictures(seen):
    method = load_method("hmr:nano")
    prepared = method.prepare(seen.sample)
    points, camera = (
        np.random.default_rng(0).normal(0, 0.5, (1, 6, 3)),
        np.array([[0.9, 0.1, -0.2]]),
    )
    outputs = {"vertices": points, "joints": points, "camera": camera}
    rows = method.decode(outputs, prepared, seen.sample)
    scale, *shift = rows["camera"][0]
    pixels = scale * (rows["vertices"][0, :, :2] + shift)
    crop = project(torch.tensor(points), torch.tensor(camera))[0].numpy()
    center, side = prepared.context.centers[0], prepared.context.sizes[0, 0] * 200
    np.testing.assert_allclose(pixels, center + crop * side / 2, atol=1e-3)


@pytest.mark.parametrize(
    "spec",
    ["hmr:nano", "graphcmr:nano", "graphcmr:nano-smpl", "smplr:nano", "smplr:nano-procrustes"],
)
def test_nano_keeps_every_promise(spec):
    assert not [check for check in conformance(spec) if check.state == "fail"]


def test_the_mean_mesh_is_the_mean(seen):
    method = load_method("mean-mesh:nano")
    moved = {**seen.truth, "vertices": seen.truth["vertices"] + 10, "joints": seen.truth["joints"]}
    method.fit([seen, (seen.sample, moved)])
    outputs = method.forward({"rows": torch.zeros(2, 1)})
    np.testing.assert_allclose(outputs["vertices"][1], seen.truth["vertices"][0] + 5, rtol=1e-5)
    np.testing.assert_allclose(outputs["joints"][0], seen.truth["joints"][0], rtol=1e-5)
    assert not [check for check in conformance("mean-mesh:nano") if check.state == "fail"]
