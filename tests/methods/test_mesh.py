"""Body models and rotations."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from benchmarks.world import body
from benchmarks.world.h36m import rest_joints
from benchmarks.world.mesh import body_model
from benchmarks.world.poses import sample_pose
from harness.api import PrerequisiteError
from methods.mesh.body_model import BodyModel, embedded_body, read_smpl, smpl_body
from methods.parts.rotation import matrix_of_6d, matrix_of_axis_angle, nearest_rotation

# --- rotations ------------------------------------------------------------------------------------

numbers = st.floats(-3, 3, allow_subnormal=False)


def is_rotation(matrices):
    eye = torch.eye(3, dtype=matrices.dtype)
    orthonormal = torch.allclose(matrices @ matrices.mT, eye.expand_as(matrices), atol=1e-6)
    return orthonormal and torch.allclose(torch.linalg.det(matrices), eye.new_ones(()), atol=1e-6)


@given(st.tuples(numbers, numbers, numbers))
def test_axis_angle_agrees_with_scipy(vector):
    found = matrix_of_axis_angle(torch.tensor([vector], dtype=torch.float64))
    assert is_rotation(found)
    np.testing.assert_allclose(found[0], Rotation.from_rotvec(vector).as_matrix(), atol=1e-6)


def test_axis_angle_is_smooth_at_zero():
    vector = torch.zeros(1, 3, requires_grad=True)
    matrix = matrix_of_axis_angle(vector)
    assert torch.allclose(matrix[0], torch.eye(3), atol=1e-6)
    matrix.sum().backward()
    assert torch.isfinite(vector.grad).all()


@given(st.integers(0, 10_000))
def test_six_numbers_of_a_rotation_give_it_back(seed):
    turn = Rotation.random(random_state=seed).as_matrix()
    six = torch.tensor(turn[:, :2].reshape(1, 6))
    assert np.allclose(matrix_of_6d(six)[0], turn)
    assert np.allclose(matrix_of_6d(2.5 * six)[0], turn)
    random = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert is_rotation(matrix_of_6d(random))


@given(st.integers(0, 10_000))
def test_nearest_rotation_is_one_and_leaves_rotations_alone(seed):
    random = torch.Generator().manual_seed(seed)
    matrices = torch.randn(5, 3, 3, generator=random, dtype=torch.float64)
    assert is_rotation(nearest_rotation(matrices))
    turn = torch.tensor(Rotation.random(random_state=seed).as_matrix())
    assert torch.allclose(nearest_rotation(3 * turn), turn)


# --- body models ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def synthetic():
    """A model in SMPL's format: 24 joints, 10 shapes, 207 pose shapes, few random vertices."""
    random = np.random.default_rng(0)
    parents = [2**32 - 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20,
               21]  # fmt: skip
    count = 6890  # smplx picks landmark vertices by number
    weights = random.random((count, 24)) ** 8
    regressor = np.zeros((24, count))
    regressor[:, :300] = random.random((24, 300))
    return {
        "v_template": random.normal(0, 0.5, (count, 3)),
        "shapedirs": random.normal(0, 0.02, (count, 3, 10)),
        "posedirs": random.normal(0, 0.01, (count, 3, 207)),
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.array([parents, range(24)], np.uint32),
        "f": random.integers(0, count, (40, 3)).astype(np.uint32),
    }


def test_vertices_equal_the_smplx_package(synthetic):
    smplx = pytest.importorskip("smplx")
    from smplx.utils import Struct

    random = torch.Generator().manual_seed(0)
    pose = torch.randn(4, 72, generator=random) * 0.6
    shape = torch.randn(4, 10, generator=random)
    theirs = smplx.SMPL("", data_struct=Struct(**synthetic), batch_size=4)(
        betas=shape, body_pose=pose[:, 3:], global_orient=pose[:, :3]
    )
    rotations = matrix_of_axis_angle(pose.unflatten(1, (24, 3)))
    vertices, joints = BodyModel(synthetic)(rotations, shape)
    assert torch.allclose(vertices, theirs.vertices, atol=1e-5)
    assert torch.allclose(joints, theirs.joints[:, :24], atol=1e-5)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_model_files_are_read_and_nothing_in_them_is_run(synthetic, tmp_path, capsys):
    from scipy.sparse import csc_matrix

    old = {**synthetic, "J_regressor": csc_matrix(synthetic["J_regressor"]), "bs_type": "lrotmin"}
    (tmp_path / "SMPL.pkl").write_bytes(pickle.dumps(old, protocol=2))
    np.savez(tmp_path / "SMPL.npz", **synthetic)
    for name in ("SMPL.pkl", "SMPL.npz"):
        found = read_smpl(tmp_path / name)
        for key, value in synthetic.items():
            np.testing.assert_array_equal(found[key], value)
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({**synthetic, "f": Evil()}))
    with pytest.raises(PrerequisiteError, match="not loaded"):
        read_smpl(tmp_path / "evil.pkl")
    assert capsys.readouterr().out == ""
    (tmp_path / "short.pkl").write_bytes(pickle.dumps({"f": synthetic["f"]}))
    with pytest.raises(PrerequisiteError, match="has no v_template"):
        read_smpl(tmp_path / "short.pkl")


def test_without_smpl_the_message_says_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_SMPL", raising=False)
    with pytest.raises(PrerequisiteError, match=r"smpl\.is\.tue\.mpg\.de"):
        smpl_body()
    monkeypatch.setenv("HARNESS_SMPL", str(tmp_path))
    with pytest.raises(PrerequisiteError, match=r"J_regressor_h36m\.npy"):
        smpl_body()


def test_the_shipped_body_is_the_embedded_worlds():
    made, shipped = body_model(), embedded_body()
    assert made.keys() == shipped.keys()
    for name, value in made.items():
        np.testing.assert_allclose(shipped[name], value, atol=1e-5)
    joints = made["h36m_regressor"] @ made["v_template"]
    np.testing.assert_allclose(joints, rest_joints(), atol=1e-5)


def test_the_embedded_body_moves_as_the_world_moves_it():
    random = np.random.default_rng(0)
    pose = sample_pose(random)
    model = BodyModel(embedded_body())
    rotations = torch.tensor(pose.rotations[None], dtype=torch.float32)
    vertices, joints = model(rotations, torch.zeros(1, 7))
    scales = np.ones((len(body.JOINTS), 3))
    linear, places = body.joint_transforms(pose.rotations, scales)
    weights = model.weights.numpy().astype(np.float64)
    expected = body.skin(model.v_template.numpy().astype(np.float64), weights, linear, places)
    np.testing.assert_allclose(joints[0], places, atol=1e-5)
    np.testing.assert_allclose(vertices[0], expected, atol=1e-5)
