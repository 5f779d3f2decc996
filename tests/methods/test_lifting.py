"""Lifting: the papers' networks, their rules, and what the shipped ones have learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from weights_recipe import digest, recipe_state

from benchmarks.protocols.h36m import H36M
from benchmarks.world import h36m as world
from harness.api import Predictions, Sample, SampleError
from harness.api.skeleton import H36M_17
from harness.conformance import conformance
from harness.loading import load_method
from harness.profiling import profile
from harness.registry import method_card
from harness.weights import locate
from methods.lifting.chen_ramanan import MATCHED, normalised, rigid_error
from methods.lifting.lcn import LocalLinear, within
from methods.lifting.martinez import clipped
from methods.parts.camera import back_project, from_image_space, project, to_image_space

BENCHMARK = H36M()
CAMERA = np.array([[1145.0, 0, 512], [0, 1143, 515], [0, 0, 1]])
MATCHED_ROWS = [H36M_17.joints.index(joint) for joint in MATCHED]


def count(module):
    return sum(p.numel() for p in module.parameters())


# --- the networks ---------------------------------------------------------------------------------


def test_martinez_costs_what_was_measured():
    found = profile(load_method("martinez:h36m-17"), latency=False)
    assert found.parameters == found.registered_parameters == 4_291_632
    assert round(found.macs / 1e9, 5) == 0.00428
    network = load_method("martinez:h36m-17").network
    stages = {"w1": 33_792, "batch_norm1": 2_048, "linear_stages": 4_206_592, "w2": 49_200}
    assert {name: count(b) for name, b in network.named_children() if count(b)} == stages
    fitted = {"mean_2d", "std_2d", "mean_3d", "std_3d"}
    assert len(network.state_dict().keys() - fitted) == 37


def test_martinez_answers_what_the_port_answers():
    """The digest was made with weigq/3d_pose_baseline_pytorch @ a03094b; the difference was 0."""
    network = load_method("martinez:h36m-17").network
    own = {k: v for k, v in network.state_dict().items() if not k.startswith(("mean_", "std_"))}
    network.load_state_dict(recipe_state(own), strict=False)
    poses = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)
    with torch.inference_mode():
        found = network(torch.from_numpy(poses))
    expected = [0.21106341, 1.2324734, 1.0756978, -0.9034255, -0.6984182, 3.4051383, -0.7018281,
                0.4214311]  # fmt: skip
    assert digest(found[None]) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [("no-batch-norm", 4_291_632 - 10_240), ("no-dropout", 4_291_632),
     ("no-residual", 4_291_632), ("1block", 4_291_632 - 2_103_296),
     ("4blocks", 4_291_632 + 2 * 2_103_296), ("8blocks", 4_291_632 + 6 * 2_103_296)],
)  # fmt: skip
def test_ablations_have_what_they_say(variant, parameters):
    network = load_method(f"martinez:h36m-17-{variant}").network
    assert count(network) == parameters
    assert network.linear_stages[0].residual is (variant != "no-residual")
    assert (network.dropout.p == 0) is (variant == "no-dropout")


def test_lcn_costs_what_was_computed():
    assert within(3).sum() == 175
    for variant, inside in (("h36m-17", 4_365_363), ("h36m-17-1hop", 1_427_635)):
        network = load_method(f"lcn:{variant}").network
        assert count(network) == 7_203_507
        masked = sum(
            int((layer.mask == 0).sum())
            for layer in network.modules()
            if isinstance(layer, LocalLinear)
        )
        assert count(network) - masked == inside


def test_a_local_layer_hears_neighbours_only():
    mask = within(1)
    layer = LocalLinear(2, 3, mask, max_norm=True)
    x = torch.zeros(1, 34, requires_grad=True)
    for joint in range(17):
        heard = torch.autograd.grad(layer(x)[0, 3 * joint : 3 * joint + 3].sum(), x)[0]
        assert (heard.reshape(17, 2).abs().sum(1) > 0).tolist() == mask[joint].tolist()


def test_clipping_is_by_the_norm_of_the_whole_matrix():
    weight = torch.full((4, 4), 0.5)
    assert torch.equal(clipped(weight / 4), weight / 4)
    assert clipped(weight).norm().item() == pytest.approx(1)
    assert clipped(weight)[0].norm().item() == pytest.approx(0.5)
    network = load_method("martinez:h36m-17-max-norm").network.eval()
    baked = load_method("martinez:h36m-17").network.eval()
    state = network.state_dict()
    clip = {k: clipped(v) if k.endswith("weight") and v.ndim == 2 else v for k, v in state.items()}
    baked.load_state_dict(clip)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(x), baked(x), atol=1e-5)


# --- geometry -------------------------------------------------------------------------------------

coordinates = st.floats(-2000, 2000)


@given(st.lists(st.tuples(coordinates, coordinates, st.floats(500, 9000)), min_size=1, max_size=9))
def test_projection_and_back(points):
    points = np.array(points)
    again = back_project(project(points, CAMERA), points[:, 2], CAMERA)
    np.testing.assert_allclose(again, points, atol=1e-6)
    depth = np.array([4000.0])
    there = to_image_space(points[None], CAMERA, depth)
    np.testing.assert_allclose(from_image_space(there, CAMERA, depth)[0], points, atol=1e-6)


def test_image_space_keeps_lengths_at_the_roots_depth():
    """A metre across and a metre in depth are as many pixels."""
    pose = np.array([[[0.0, 0, 4000], [1000, 0, 4000], [0, 0, 5000]]])
    there = to_image_space(pose, CAMERA, np.array([4000.0]))
    assert there[0, 1, 0] - there[0, 0, 0] == pytest.approx(there[0, 2, 2])


# --- exemplars ------------------------------------------------------------------------------------


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(0.1, 10), st.integers(0, 99))
def test_matching_knows_neither_place_nor_size(x, y, scale, seed):
    pose = np.random.default_rng(seed).normal(0, 100, (1, 14, 2))
    np.testing.assert_allclose(
        normalised(pose), normalised(scale * pose + [x, y]), rtol=1e-6, atol=1e-6
    )


@pytest.fixture(scope="module")
def library():
    """A method whose library holds 200 random poses, 6 m away, and those poses as samples."""
    random = np.random.default_rng(0)
    poses = random.normal((0, 0, 6000), 300, (200, 17, 3))
    samples = []
    for i, pose in enumerate(poses):
        given_ = {"keypoints_2d": project(pose, CAMERA)[None], "image_size": np.array([1000, 1000])}
        samples.append((Sample(str(i), inputs=given_), {"joints": pose[None]}))
    card = method_card("chen-ramanan")
    cls = type(load_method("chen-ramanan:nano"))

    def build(**options):
        options = {"exemplars": 200, **options}
        variant = card.variants["nano"].model_copy(update={"options": options})
        changed = card.model_copy(update={"variants": {"nano": variant}})
        method = cls(changed, "nano")
        method.fit(samples)
        return method

    return build, samples


def lift(method, sample):
    rows = method.prepare(sample).rows
    inputs = {name: torch.from_numpy(values) for name, values in rows.items()}
    return method.forward(inputs)["joints"].numpy()


@pytest.mark.parametrize("neighbours", [1, 5])
def test_a_known_pose_finds_itself(library, neighbours):
    build, samples = library
    method = build(neighbours=neighbours)
    for index in (0, 77, 199):
        sample, truth = samples[index]
        poses = sample.inputs["keypoints_2d"][:, MATCHED_ROWS]
        assert method.search(poses).tolist() == [index]
        hips = truth["joints"][:, [4, 1], 2].mean()
        np.testing.assert_allclose(
            lift(method, sample)[..., 2], truth["joints"][..., 2] - hips, atol=0.01
        )


def test_the_tree_finds_what_plain_search_finds(library):
    build, samples = library
    method, random = build(), np.random.default_rng(1)
    poses = random.normal(0, 100, (20, 14, 2))
    known = np.concatenate([normalised(s.inputs["keypoints_2d"][:, MATCHED_ROWS])
                            for s, _ in samples])  # fmt: skip
    away = np.linalg.norm(normalised(poses)[:, None] - known[None], axis=-1)
    assert method.search(poses).tolist() == away.argmin(axis=1).tolist()


def test_warping_keeps_the_2d_pose_and_no_warping_the_exemplar(library):
    build, samples = library
    sample, truth = samples[3]
    keypoints = sample.inputs["keypoints_2d"][0]
    warped = lift(build(), sample)[0]
    fit = np.polyfit(keypoints[:, 0], warped[:, 0], 1)
    np.testing.assert_allclose(np.polyval(fit, keypoints[:, 0]), warped[:, 0], atol=0.05)
    plain = lift(build(warp=False), sample)[0]
    middle = truth["joints"][0, [1, 4]].mean(axis=0)
    np.testing.assert_allclose(plain, truth["joints"][0] - middle, atol=0.01)


def test_the_demos_hips_move_up():
    demo = method_card("chen-ramanan").variants["h36m-17-demo"].options
    assert (demo["hip_shift"], demo["neighbours"]) == (20, 10)
    assert load_method("chen-ramanan:nano").hip_shift == 0


def test_rigid_error_is_none_for_a_turned_pose():
    random = np.random.default_rng(0)
    pose = random.normal(size=(14, 3))
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    in_plane = np.array([[np.cos(1), -np.sin(1), 0], [np.sin(1), np.cos(1), 0], [0, 0, 1]])
    assert rigid_error((pose @ in_plane)[None], pose[:, :2])[0] == pytest.approx(0, abs=1e-9)
    assert rigid_error((pose * [-1, 1, 1])[None], pose[:, :2])[0] > 0.1


# --- the embedded world ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The embedded split of Human3.6M without its pictures, which lifting does not read."""
    root = tmp_path_factory.mktemp("h36m")
    settings = world.SPLITS["embedded-val"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(world.SPLITS, "embedded-val", replace(settings, pictures=False))
        BENCHMARK.make_embedded(root, "embedded-val", lambda done, total: None)
    return BENCHMARK.load(root, "embedded-val")


def test_the_split_reads_like_the_official_one(data):
    assert data.synthetic
    assert data.split == "embedded-val"
    assert BENCHMARK.load(data.root, data.split).digest == data.digest
    assert BENCHMARK.splits(data.root) == ("embedded-val",)
    assert len(data.sample_ids) == 2 * 15 * 2 * 4 * 3
    sample, truth = BENCHMARK.training_samples(data, H36M_17)[5]
    pixels = project(truth["joints"][0], sample.inputs["camera"])
    np.testing.assert_allclose(pixels, truth["keypoints"][0], atol=1e-3)
    assert sample.inputs["root_depth"][0] == truth["joints"][0, 0, 2]
    poses = data.truth
    for variant in ("martinez-p1", "tutorial-p1", "tutorial-p2", "hmr-p2", "spin-graphcmr"):
        assert BENCHMARK.scored(poses, BENCHMARK.protocol(variant)).any()


def test_all_cameras_see_one_pose(data):
    """The same frame in two cameras differs by a rigid motion."""
    from benchmarks.metrics.procrustes import align

    place = {name: i for i, name in enumerate(data.sample_ids)}
    ids = [f"S9/Eating-1/{camera}/000064" for camera in ("54138969", "58860488")]
    one, two = (data.truth.joints[[place[i]]] for i in ids)
    assert np.abs(one - two).max() > 100
    np.testing.assert_allclose(align(one, two, scale=False), two, atol=0.01)


def test_no_person_is_in_two_splits():
    names = [{f.name.partition("/")[0] for f in world.frames(s)} for s in ("embedded-val",)]
    assert names == [{"S9", "S11"}]
    assert not names[0] & set(world.SPLITS["embedded-train"].subjects)


def mpjpe(spec, data):
    name, _, variant = spec.partition(":")
    method = load_method(spec, locate(method_card(name), variant))
    samples = BENCHMARK.samples(data, BENCHMARK.protocol())
    prepared = [method.prepare(sample) for sample in samples]
    inputs = {
        key: torch.from_numpy(np.concatenate([p.rows[key] for p in prepared]))
        for key in prepared[0].rows
    }
    with torch.inference_mode():
        outputs = {key: value.numpy() for key, value in method.forward(inputs).items()}
    rows = [
        (s.id, method.decode({k: v[i : i + 1] for k, v in outputs.items()}, p, s))
        for i, (s, p) in enumerate(zip(samples, prepared, strict=True))
    ]
    predictions = Predictions.from_samples(BENCHMARK.schema, rows)
    protocol = BENCHMARK.protocol()
    return BENCHMARK.compute(BENCHMARK.statistics(data, predictions, protocol), protocol)["mpjpe"]


def test_shipped_weights_lift_the_embedded_world(data):
    floor = mpjpe("mean-pose-3d:nano", data)
    assert floor > 200
    for spec in ("martinez:nano", "lcn:nano", "chen-ramanan:nano"):
        assert mpjpe(spec, data) < 0.4 * floor


def test_files_without_2d_joints_say_so():
    with pytest.raises(SampleError, match="2D joints"):
        load_method("martinez:nano").prepare(Sample("1", inputs={"image_size": np.ones(2)}))


@pytest.mark.parametrize("name", ["martinez", "lcn", "chen-ramanan", "mean-pose-3d"])
@pytest.mark.parametrize("variant", ["nano"])
def test_nano_variants_keep_every_promise(name, variant):
    assert not [check for check in conformance(f"{name}:{variant}") if check.state == "fail"]
