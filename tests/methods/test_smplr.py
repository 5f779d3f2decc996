"""SMPLR: networks, the tree of points, volumes, Procrustes, and the way back to the body."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.metrics.procrustes import align
from benchmarks.world import body
from benchmarks.world.poses import sample_pose
from harness.loading import load_method
from harness.profiling import profile
from harness.registry import method_card
from harness.weights import locate, start_from
from methods.mesh.body_model import embedded_body
from methods.mesh.landmarks import LIMBS, SMPL_LANDMARKS
from methods.mesh.smplr_net import bones_of
from methods.parts.procrustes import procrustes
from methods.parts.volume import gaussian_volumes, segment_volumes, soft_argmax_3d

SMPL_PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def nano():
    return load_method("smplr:nano", locate(method_card("smplr"), "nano"))


@pytest.fixture(scope="module")
def people():
    """Rotations (6, J, 3, 3) and shapes (6, B) of people in the camera's axes."""
    random = np.random.default_rng(3)
    rotations = torch.tensor(np.stack([sample_pose(random).rotations for _ in range(6)])).float()
    upside_down = torch.diag(torch.tensor([1.0, -1, -1]))
    rotations[:, 0] = upside_down @ rotations[:, 0]
    return rotations, torch.tensor(random.normal(size=(6, 7))).float()


# --- networks -------------------------------------------------------------------------------------


def residual(inputs, outputs):
    """Count a block's numbers from its description: shifts of norms, and convolutions."""
    half = outputs // 2
    shortcut = inputs * outputs if inputs != outputs else 0
    return inputs + 2 * half + inputs * half + 9 * half**2 + half * outputs + shortcut


def test_the_parts_have_the_official_sizes():
    with torch.device("meta"):
        method = load_method("smplr:5stack-256x256")
    parts = {name: count(part) for name, part in method.network.named_children()}
    norms = 2 * (1024 + 1024 + 512 + 1024 + 1024), 2 * (2 * 1024 + 3 * 512 + 3 * 256)
    assert parts["denoiser"] == 3_402_363 + norms[0]
    assert parts["shape"] == 2_477_075 + norms[1]
    assert parts["pose"] == 2_759_688 + norms[1]
    width, volume = 256, (41 + 4) * 16
    stem = 3 * 64 * 6 * 6 + residual(64, 128) + residual(128, 128) + residual(128, width)
    stack = 13 * residual(width, width) + width * width + width + width * volume
    between = width * width + volume * width
    assert parts["hourglass"] == stem + 5 * stack + 4 * between == 16_475_456
    found = profile(method, latency=False)
    assert found.parameters == found.registered_parameters == sum(parts.values()) == 25_141_206
    assert round(found.macs / 1e9, 3) == 20.137


def test_five_stacks_answer_five_sets_of_volumes():
    with torch.device("meta"):
        network = load_method("smplr:5stack-256x256").network
        volumes = network.hourglass(torch.zeros(2, 3, 256, 256))
    assert [stack.shape for stack in volumes] == [(2, 45, 16, 64, 64)] * 5


def test_nano_is_less_than_two_megabytes(nano):
    assert count(nano.network) < 500_000


def test_every_picture_has_mean_0_and_deviation_1(nano):
    crops = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    crops[1] = 77
    images = nano.images(crops)
    assert images[0].mean().abs() < 1e-5
    assert images[0].std(correction=0) == pytest.approx(1, abs=1e-5)
    assert not images[1].any()


def test_a_start_takes_all_of_integral_regression_but_its_volumes():
    method = load_method("smplr:nano")
    start_from(method, "integral:nano")
    taken = load_method("integral:nano", locate(method_card("integral"), "nano")).network
    images = torch.rand(2, 3, 128, 128)
    method.network.eval()
    baseline = method.network.hourglass
    assert torch.equal(baseline.backbone(images), taken.backbone(images))
    for own, other in zip(baseline.head.features[:-1], taken.head.features[:-1], strict=True):
        for name, tensor in own.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_no_voxel_is_likely_at_first():
    """The entropy begins near that of a share of all voxels, not of one half."""
    network = load_method("smplr:nano").network
    volumes = network.hourglass(torch.rand(2, 3, 128, 128))[0]
    assert volumes.shape == (2, 40, 8, 32, 32)
    assert torch.sigmoid(volumes).sum(dim=(2, 3, 4)).log().abs().max() < 2


# --- points ---------------------------------------------------------------------------------------


def test_smpl_has_41_points_and_limbs_are_chains():
    assert len(SMPL_PARENTS) - 1 + len(SMPL_LANDMARKS) == 41
    assert max(SMPL_LANDMARKS) < 6890
    for parents, limbs in ((SMPL_PARENTS, LIMBS["smpl"]), (body.PARENTS, LIMBS["embedded"])):
        for limb in limbs:
            assert [parents[end] for end in limb[1:]] == list(limb[:-1])
    names = [[body.JOINTS[end] for end in limb] for limb in LIMBS["embedded"]]
    assert names[0] == ["right_shoulder", "right_elbow", "right_wrist"]
    assert names[3] == ["left_knee", "left_ankle"]


def test_points_are_the_bodys_own(nano, people):
    vertices, joints = nano.body[0](*people)
    there = torch.from_numpy(embedded_body()["v_template"])
    chosen = [
        int((there == place).all(dim=1).nonzero()[0])
        for place in nano.tree.model.v_template[nano.tree.landmarks]
    ]
    expected = torch.cat([joints[:, 1:], vertices[:, chosen]], dim=1) - joints[:, :1]
    assert torch.allclose(nano.tree.points(*people), expected, atol=1e-5)
    high, left = there[chosen[-1], 1], there[chosen[11], 0]  # top of the head, left hand
    assert high > there[:, 1].max() - 0.01
    assert left > 0.85


def test_landmarks_come_in_mirrored_pairs(nano):
    rest = nano.tree.model.v_template[nano.tree.landmarks]
    for a, b in ((0, 1), (3, 4), (5, 6), (7, 8), (9, 10), (11, 16), (12, 14), (13, 15)):
        assert torch.allclose(rest[a] * torch.tensor([-1.0, 1, 1]), rest[b], atol=0.03)


def test_bones_know_shape_and_pose_apart(nano, people):
    rotations, shape = people
    tree = nano.tree
    bones = bones_of(tree.points(rotations, shape), tree.parents)
    again = torch.zeros_like(bones[:, :1]).repeat(1, bones.shape[1] + 1, 1)
    for number, parent in enumerate(tree.parents.tolist()):
        again[:, number + 1] = again[:, parent] + bones[:, number]
    assert torch.allclose(again[:, 1:], tree.points(rotations, shape), atol=1e-5)
    still = torch.eye(3).expand(1, len(body.JOINTS), 3, 3)
    rest = bones_of(tree.points(still, torch.zeros(1, 7)), tree.parents).norm(dim=-1)
    assert torch.allclose(rest[0], tree.lengths, atol=1e-6)
    # Between joints a pose changes no length.
    joints = len(body.JOINTS) - 1
    shaped = bones_of(tree.points(still.expand(6, -1, -1, -1), shape), tree.parents)
    assert torch.allclose(
        bones.norm(dim=-1)[:, :joints], shaped.norm(dim=-1)[:, :joints], atol=1e-5
    )


def test_the_root_is_where_its_points_say(nano, people):
    found = torch.einsum("p,npc->nc", nano.tree.root, nano.tree.points(*people))
    assert found.norm(dim=-1).max() < 0.02
    assert nano.tree.root.sum() == pytest.approx(1, abs=1e-5)


# --- volumes --------------------------------------------------------------------------------------


def test_segments_are_drawn_by_distance():
    starts, ends = torch.tensor([[[-0.3, -0.2, 0.1]]]), torch.tensor([[[0.25, 0.3, -0.2]]])
    size = (4, 6, 8)
    drawn = segment_volumes(starts, ends, size, 1.3)[0, 0]
    sizes = np.array([8, 6, 4])
    a, b = ((p[0, 0].numpy() + 0.5) * sizes for p in (starts, ends))
    along = a + np.linspace(0, 1, 20001)[:, None] * (b - a)
    for z, y, x in np.ndindex(*size):
        nearest = np.linalg.norm(along - [x, y, z], axis=1).min()
        expected = np.exp(-(nearest**2) / (2 * 1.3**2))
        assert drawn[z, y, x].item() == pytest.approx(expected, abs=1e-4)
    point = segment_volumes(starts, starts, size, 1.0)
    assert torch.allclose(point, gaussian_volumes(starts, size, 1.0), atol=1e-6)


def test_what_is_drawn_is_read_again(nano):
    places = torch.rand(2, 36, 3) * 0.4 - 0.2
    drawn = nano.volumes(places, (16, 24, 24))
    assert drawn.shape == (2, 40, 16, 24, 24)
    assert torch.allclose(drawn[:, :36].sum(dim=(2, 3, 4)), torch.ones(2, 36), atol=0.01)
    assert torch.allclose(soft_argmax_3d(drawn[:, :36].log()), places, atol=1e-3)


# --- Procrustes -----------------------------------------------------------------------------------


def test_procrustes_is_the_benchmarks():
    random = np.random.default_rng(0)
    points, onto = random.normal(size=(2, 20, 9, 3))
    onto[:5] = points[:5] * [-1, 1, 1]  # mirrored: must not be undone
    move = procrustes(torch.from_numpy(points), torch.from_numpy(onto))
    np.testing.assert_allclose(move(torch.from_numpy(points)), align(points, onto), atol=1e-10)
    assert torch.allclose(torch.linalg.det(move.rotation), torch.ones(20).double())


def test_the_procrustes_variant_lays_the_mesh_on_the_points(people):
    plain, moved = load_method("smplr:nano"), load_method("smplr:nano-procrustes")
    rotations, shape = people
    points = plain.tree.points(rotations, shape)
    turn = torch.linalg.qr(torch.rand(3, 3))[0]
    turn = turn * torch.linalg.det(turn)
    answer = torch.rand(6, 3), 1.2 * points @ turn.T + 0.1, rotations, shape
    crops = {"crops": torch.zeros(6, 96, 96, 3, dtype=torch.uint8)}
    for method in (plain, moved):
        method.network.forward = lambda *_: answer
    vertices, joints = plain.body[0](rotations, shape)
    root = joints[:, :1]
    assert torch.allclose(plain.forward(crops)["vertices"], vertices)
    expected = 1.2 * (vertices - root) @ turn.T + 0.1 + root
    found = moved.forward(crops)
    assert torch.allclose(found["vertices"], expected, atol=1e-4)
    assert torch.allclose(found["joints"], moved.joints_of(expected), atol=1e-4)


# --- the way back ---------------------------------------------------------------------------------


def oracle(method, people, scale=0.9, shift=(0.1, -0.05, 0.0)):
    """Make the hourglass see people perfectly: logarithms of their true volumes."""
    places = (scale * method.tree.points(*people) + torch.tensor(shift)) / 2
    drawn = method.volumes(places, (16, 24, 24))
    method.network.hourglass.forward = lambda images: [drawn.clamp(min=1e-30).log()]
    return torch.zeros(len(places), 3, 96, 96)


def test_places_become_metres_from_the_root(people):
    method = load_method("smplr:nano")
    images, tree = oracle(method, people), method.tree
    places = method.network.places(method.network.hourglass(images)[-1])
    camera, points = method.network.measure(places, tree.parents, tree.lengths, tree.root)
    true = tree.points(*people)
    longer = bones_of(true, tree.parents).norm(dim=-1).sum(dim=1, keepdim=True) / tree.lengths.sum()
    assert torch.allclose(points * longer[..., None], true, atol=0.03)
    assert torch.allclose(camera[:, :1], 0.9 * longer, rtol=0.02)
    assert torch.allclose(camera[:, 1:], torch.tensor([0.1, -0.05]).expand(6, 2), atol=0.02)
