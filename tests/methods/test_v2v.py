"""V2V-PoseNet: the official network, its voxels and back, and what the thin one has learned."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from weights_recipe import digest, recipe_state

from benchmarks.metrics.joint_error import distances
from benchmarks.protocols.hands import IcvlHand, MsraHand, NyuHand
from benchmarks.world import hand_files as world
from harness.api import Predictions, PrerequisiteError, Sample, SampleError
from harness.conformance import conformance
from harness.loading import load_method
from harness.profiling import profile
from harness.registry import method_card
from harness.weights import locate
from methods.hands.depth import points_near
from methods.hands.v2v import V2V, Grid

BENCHMARK = NyuHand()


def count(module):
    return sum(p.numel() for p in module.parameters())


# --- the network ----------------------------------------------------------------------------------


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_cost_is_the_measured_one():
    with torch.device("meta"):
        method = load_method("v2v:j21-88")
        fifteen = type(method.network)(15)
    found = profile(method, latency=False)
    assert found.parameters == found.registered_parameters == 3_410_453
    assert round(found.macs / 1e9, 3) == 36.399
    assert round(found.paper_gflops, 3) == 35.605
    blocks = {"front_layers": 158_784, "encoder_decoder": 3_193_248, "back_layers": 57_728,
              "output_layer": 693}  # fmt: skip
    assert {name: count(block) for name, block in method.network.named_children()} == blocks
    assert count(fifteen) == 3_410_255
    assert len(method.network.state_dict()) == 212
    assert len(list(method.network.parameters())) == 122
    with torch.device("meta"):
        assert method.network(torch.zeros(1, 1, 88, 88, 88)).shape == (1, 21, 44, 44, 44)


def test_an_ensemble_answers_the_mean_of_its_members_joints():
    card = method_card("v2v")
    thin = card.variants["nano"]
    options = {**thin.options, "members": 3}
    variants = {**card.variants, "thin": thin.model_copy(update={"options": options})}
    ensemble = V2V(card.model_copy(update={"variants": variants}), "thin")
    networks = [load_method("v2v:nano").network for _ in range(3)]
    for number, network in enumerate(networks):
        network.output_layer.weight.data.copy_(
            torch.randn(network.output_layer.weight.shape, generator=generator(number))
        )
    state = {
        f"module.members.{i}.{name}": tensor
        for i, network in enumerate(networks)
        for name, tensor in network.state_dict().items()
    }
    ensemble.network.load_state_dict(ensemble.translate_weights(state))
    voxels = (torch.rand(2, 32, 32, 32, generator=generator(9)) < 0.1).to(torch.uint8)
    own, answers = load_method("v2v:nano"), []
    for network in networks:
        own.network = network.eval()
        answers.append(own.forward({"voxels": voxels}))
    ensemble.network.eval()
    found = ensemble.forward({"voxels": voxels})
    assert (answers[0]["points"] != answers[1]["points"]).any()
    for name in ("points", "scores"):
        expected = torch.stack([answer[name] for answer in answers]).mean(dim=0)
        assert torch.equal(found[name], expected)
    assert not ensemble.trainable
    assert own.trainable
    assert ensemble.forward({"voxels": voxels[:0]})["points"].shape == (0, 14, 3)


def test_the_ensemble_is_ten_networks():
    with torch.device("meta"):
        found = profile(load_method("v2v:j21-88-ensemble"), latency=False)
    assert found.parameters == 10 * 3_410_453
    assert round(found.macs / 1e9, 2) == 363.99


def test_outputs_equal_the_port():
    """The digest was made with dragonbook/V2V-PoseNet-pytorch @ 90045b6; the difference was 0."""
    network = load_method("v2v:j21-88").network
    state = network.state_dict()
    assert state["front_layers.0.block.0.weight"].shape == (16, 1, 7, 7, 7)
    assert "encoder_decoder.skip_res1.res_branch.0.weight" in state
    network.load_state_dict(recipe_state(state))
    voxels = np.random.default_rng(0).random((1, 1, 24, 24, 24)) < 0.1
    with torch.inference_mode():
        found = network(torch.from_numpy(voxels.astype(np.float32)))
    expected = [0.04746716, 0.88433714, 0.30623546, 0.10717935, -0.71482027, 0.45528337,
                -0.31631544, 0.44822848]  # fmt: skip
    assert digest(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)


# --- voxels ---------------------------------------------------------------------------------------

GRIDS = [Grid(200, 88), Grid(250, 88, whole=False), Grid(240, 32)]


@pytest.mark.parametrize("grid", GRIDS)
@given(point=st.tuples(*[st.floats(-0.49, 0.49)] * 3))
def test_an_occupied_voxel_is_within_half_a_voxel_of_its_point(grid, point):
    center = np.array([10.0, -20, 700])
    point = np.array([point]) * grid.side + center
    volume = grid.occupied(grid.coordinates(point, center))
    assert volume.sum() == 1
    middle = grid.millimetres(np.argwhere(volume) + 0.5, center)
    assert np.abs(middle - point).max() <= grid.side / grid.voxels / 2 + 1e-9
    again = grid.millimetres(grid.coordinates(point, center), center)
    np.testing.assert_allclose(again, point, atol=1e-9)


def test_points_outside_the_cube_occupy_nothing():
    grid = GRIDS[0]
    assert grid.occupied(np.array([[-0.01, 5, 5], [88.0, 5, 5], [5, 5, 100]])).sum() == 0


@pytest.mark.parametrize("grid", GRIDS)
def test_targets_decode_to_their_joints(grid):
    """Within the documented number of input voxels: 1.5 in the official code, else 1."""
    random = np.random.default_rng(0)
    joints = torch.from_numpy(random.uniform(4, grid.voxels - 4, (5, 9, 3)))
    targets = grid.targets(joints)
    assert targets.max() <= 1
    found, scores = grid.peaks(targets)
    assert (found - joints).abs().max() <= (1.5 if grid.whole else 1.0)
    assert torch.equal(scores, targets.flatten(2).max(dim=-1).values)


def test_the_official_half_voxel_is_a_choice():
    """An even voxel's target peaks in its own output voxel; the two ways read it differently."""
    joint = torch.tensor([[[40.5, 40.5, 40.5]]])
    assert Grid(200, 88).peaks(Grid(200, 88).targets(joint))[0][0, 0].tolist() == [40.5] * 3
    port = Grid(200, 88, whole=False)
    assert port.peaks(port.targets(joint))[0][0, 0].tolist() == [41.0] * 3


def test_oracle_decoding_of_nyus_truth_is_finer_than_a_voxel(shared_data):
    """Drawn and decoded, real joints miss by less than the side of an output voxel."""
    dataset = BENCHMARK.load(shared_data / "nyu_hand", "test")
    joints = BENCHMARK.protocol().millimetres(dataset.truth.uvd)[::25]
    center = joints.mean(axis=1, keepdims=True)
    for whole, limit in ((True, 4.0), (False, 2.8)):
        grid = Grid(250, 88, whole)
        there = torch.from_numpy(grid.coordinates(joints, center)).float()
        found = torch.cat([grid.peaks(grid.targets(part))[0] for part in there.split(8)])
        inside = ((there > 2) & (there < 86)).all(dim=-1).numpy()
        assert inside.mean() > 0.99
        error = distances(grid.millimetres(found.numpy(), center), joints)[inside]
        assert error.mean() < limit < 250 / 44


# --- files ----------------------------------------------------------------------------------------


def test_depth_files_of_the_three_data_sets(tmp_path):
    depth = np.random.default_rng(0).integers(0, 2000, (12, 16)).astype(np.uint16)
    nyu = np.stack([depth & 255, depth >> 8, np.full_like(depth, 7)], axis=-1).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "nyu.png"), nyu)
    cv2.imwrite(str(tmp_path / "icvl.png"), depth)
    part = np.zeros_like(depth)
    part[2:9, 3:11] = depth[2:9, 3:11]
    header = np.array([16, 12, 3, 2, 11, 9], "<i4").tobytes()
    (tmp_path / "msra.bin").write_bytes(header + part[2:9, 3:11].astype("<f4").tobytes())
    for name, due in (("nyu.png", depth), ("icvl.png", depth), ("msra.bin", part)):
        np.testing.assert_array_equal(Sample("1", (str(tmp_path / name),)).read_depth(), due)


@pytest.mark.parametrize("content", [b"", b"1234", bytes(24), bytes(40)])
@pytest.mark.parametrize("name", ["a.bin", "a.png"])
def test_damaged_depth_files_say_so(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SampleError, match=name):
        Sample("1", (str(path),)).read_depth()
    with pytest.raises(SampleError, match="does not exist"):
        Sample("1", (str(tmp_path / "none.png"),)).read_depth()


def test_points_lie_behind_their_pixels():
    camera = np.array([[500.0, 0, 8], [0, -500, 6], [0, 0, 1]])
    depth = np.zeros((12, 16), np.float32)
    depth[3, 10], depth[5, 5] = 600, 900
    points = points_near(depth, camera, np.array([0.0, 0, 610]), 50)
    np.testing.assert_allclose(points, [[2 * 600 / 500, 3 * 600 / 500, 600]])


def test_refined_centres_are_detections(tmp_path, shared_data):
    dataset = IcvlHand().load(shared_data / "icvl_hand", "test")
    named = replace(dataset.truth, images=("a.png",) * len(dataset.sample_ids))
    dataset = replace(dataset, truth=named)
    path = tmp_path / "center_test_refined.txt"
    lines = [f"{i} {i + 1} 300.5" for i in range(len(dataset.sample_ids))]
    path.write_text("\n".join(lines))
    samples = IcvlHand().samples(dataset, IcvlHand().protocol(), path)
    assert samples[7].inputs["hand_center"].tolist() == [[7, 8, 300.5]]
    for wrong, message in ((["invalid", *lines[1:]], "line 1"), (lines[:-1], "1595 lines")):
        path.write_text("\n".join(wrong))
        with pytest.raises(PrerequisiteError, match=message):
            IcvlHand().samples(dataset, IcvlHand().protocol(), path)


# --- the embedded world ---------------------------------------------------------------------------


LEARNED = [
    (NyuHand(), world.make_nyu, ("mean-pose-3d:nano-hand", "v2v:nano")),
    (IcvlHand(), world.make_icvl, ("mean-pose-3d:nano-icvl", "v2v:nano-icvl")),
    (MsraHand(), world.make_msra, ("mean-pose-3d:nano-msra", "v2v:nano-msra")),
]


def error_of(spec, benchmark, data):
    name, _, variant = spec.partition(":")
    method = load_method(spec, locate(method_card(name), variant))
    rows = []
    for sample in benchmark.samples(data, benchmark.protocol()):
        prepared = method.prepare(sample)
        with torch.inference_mode():
            found = method.forward({k: torch.from_numpy(v) for k, v in prepared.rows.items()})
        outputs = {k: v.numpy() for k, v in found.items()}
        rows.append((sample.id, method.decode(outputs, prepared, sample)))
    predictions = Predictions.from_samples(benchmark.schema, rows)
    protocol = benchmark.protocol()
    statistics = benchmark.statistics(data, predictions, protocol)
    return benchmark.compute(statistics, protocol)["mean_error_mm"]


@pytest.mark.parametrize(
    ("benchmark", "make", "specs"), LEARNED, ids=[benchmark.name for benchmark, *_ in LEARNED]
)
def test_shipped_weights_find_the_embedded_hands(benchmark, make, specs, tmp_path):
    """On the first 60 frames, or one of each of MSRA's 153 gestures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(world.SPLITS, "embedded-val", (world.SPLITS["embedded-val"][0], 60))
        make(tmp_path, "embedded-val", workers=1)
    data = benchmark.load(tmp_path, "embedded-val")
    floor, network = (error_of(spec, benchmark, data) for spec in specs)
    assert floor > 30
    assert network < 0.5 * floor


@pytest.mark.parametrize("spec", [spec for *_, specs in LEARNED for spec in specs])
def test_nano_variants_keep_every_promise(spec):
    assert not [check for check in conformance(spec) if check.state == "fail"]
