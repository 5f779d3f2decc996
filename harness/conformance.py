"""What every method must keep, whatever it is: the checks behind ``harness test``.

A check looks at the method through the same calls as the engine. It returns a detail for the
table, raises :class:`NotApplicable` where the method makes no such promise, and fails by any
other exception.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from harness import registry, weights
from harness.api import (
    SCHEMAS,
    Method,
    Predictions,
    Prepared,
    PrerequisiteError,
    Rows,
    Sample,
    skeletons,
)
from harness.loading import load_method
from harness.profiling import peak_memory

Tensors = Mapping[str, torch.Tensor]

TOLERANCE = 1e-4
"""Relative and absolute difference that another batch size or device may make."""
BOXES = np.array([[30.0, 20, 160, 220], [100, 60, 180, 160], [-20, 100, 120, 200]])
CAMERA = np.array([[400.0, 0, 192], [0, 400, 160], [0, 0, 1]])
TASKS = {"people-2d": "keypoints", "joints-3d": "joints", "mesh": "joints", "dense-pose": "box"}
"""The tasks that are known here, and the column of their predictions whose shape is checked."""
STEPS = 15


class NotApplicable(Exception):  # noqa: N818 - no error: the method makes no such promise
    """The check says nothing about this method."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check: ``state`` is ok, fail or skip."""

    check: str
    state: str
    detail: str


PEOPLE_INPUTS = ("keypoints_2d", "root_depth", "hand_center")
"""Inputs of a sample that have one row for each person."""


class Case:
    """A method with visible answers, and one sample with three people."""

    def __init__(self, spec: str, folder: Path) -> None:
        self.spec, self.folder = spec, folder
        name, variant = registry.split_name(spec)
        self.card = registry.method_card(name)
        if self.card.task not in TASKS:
            raise PrerequisiteError(
                f"{spec} predicts {self.card.task}; harness test knows {', '.join(TASKS)}.",
                "Test it with pytest.",
            )
        path = weights.locate(self.card, variant)
        self.method = load_method(spec, path)
        if path is None:
            redraw(self.method.network)
        self.random = np.random.default_rng(0)
        image = folder / "picture.png"
        joints = len(self.method.skeleton) if self.method.skeleton else 8  # points of a surface
        places = self.random.uniform(0.1, 0.9, (len(BOXES), joints, 2))
        self.truth = {
            "keypoints": BOXES[:, None, :2] + places * BOXES[:, None, 2:],
            "visible": np.ones((len(BOXES), joints), bool),
            "area": BOXES[:, 2] * BOXES[:, 3],
            "surface": np.concatenate([1 + 24 * places[..., :1] // 1, places], axis=-1),
            "masks": np.empty((len(BOXES), 0)),  # none is drawn
        }
        if self.card.family == "hand":
            self.sample = self._hands(image)
        else:
            self.sample = self._people(image)

    def _people(self, image: Path) -> Sample:
        """Make a picture of three people in boxes; in space they are 4 m away."""
        picture = self.random.integers(0, 256, (20, 24, 3), np.uint8)
        cv2.imwrite(str(image), cv2.resize(picture, (384, 320), interpolation=cv2.INTER_CUBIC))
        boxes, scores = BOXES, np.array([0.9, 0.8, 0.7])
        if self.card.task in ("people-2d", "dense-pose"):
            return Sample("1", (str(image),), boxes, scores)
        keypoints = self.truth["keypoints"]
        depth = 4000 + self.random.normal(0, 200, (*keypoints.shape[:2], 1))
        self.truth["joints"] = self._in_space(keypoints, depth)
        inputs = {
            "keypoints_2d": keypoints,
            "camera": CAMERA,
            "image_size": np.array([384.0, 320.0]),
            "root_depth": np.full(len(boxes), 4000.0),
        }
        return Sample("1", (str(image),), boxes, scores, inputs)

    def _hands(self, image: Path) -> Sample:
        """Make a depth image (16 bits, millimetres) of three uneven surfaces 60 cm away."""
        bumps = self.random.integers(560, 640, (20, 24)).astype(np.uint16)
        cv2.imwrite(str(image), cv2.resize(bumps, (384, 320), interpolation=cv2.INTER_NEAREST))
        centers = np.array([[130.0, 110, 600], [190, 130, 600], [220, 200, 600]])
        spread = self.random.uniform(-30, 30, (len(centers), self.truth["keypoints"].shape[1], 3))
        middle = self._in_space(centers[:, None, :2], centers[:, None, 2:])
        self.truth["joints"] = middle + spread
        return Sample("1", (str(image),), inputs={"hand_center": middle[:, 0], "camera": CAMERA})

    @staticmethod
    def _in_space(pixels: NDArray[Any], depth: NDArray[Any]) -> NDArray[np.float64]:
        plane = (pixels - CAMERA[:2, 2]) / CAMERA[[0, 1], [0, 1]] * depth
        return np.concatenate([plane, depth], axis=-1)

    @property
    def nobody(self) -> Sample:
        """The same sample without anybody in it."""
        inputs = {k: v[:0] if k in PEOPLE_INPUTS else v for k, v in self.sample.inputs.items()}
        return Sample("1", self.sample.images, np.empty((0, 4)), np.empty(0), inputs)

    @cached_property
    def prepared(self) -> Prepared:
        return self.method.prepare(self.sample)

    @cached_property
    def inputs(self) -> Tensors:
        return {name: torch.from_numpy(array) for name, array in self.prepared.rows.items()}

    @cached_property
    def outputs(self) -> Tensors:
        return self.run(self.method, self.inputs)

    @staticmethod
    def run(method: Method, inputs: Tensors) -> Tensors:
        with torch.inference_mode():
            return method.forward(inputs)

    def decode(self, outputs: Tensors, prepared: Prepared, sample: Sample) -> Rows:
        arrays = {name: value.numpy() for name, value in outputs.items()}
        return self.method.decode(arrays, Prepared({}, prepared.context), sample)


def redraw(network: torch.nn.Module) -> None:
    """Redraw layers whose initial weights are so small that no answer varies with the picture."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)):
            inputs = layer.weight[0].numel()
            if layer.weight.numel() > 1 and layer.weight.std() * inputs**0.5 < 0.1:
                torch.nn.init.kaiming_normal_(layer.weight, generator=generator)


def default_variant(spec: str) -> str:
    """Complete a bare method's name by its variant ``nano``, where it has one."""
    if ":" not in spec and "nano" in registry.method_card(spec).variants:
        return f"{spec}:nano"
    return ":".join(registry.split_name(spec))


def conformance(spec: str) -> list[Check]:
    """Run all checks on ``METHOD:VARIANT``, with its weights if they are on this machine."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        case = Case(spec, Path(folder))
        for name, check in CHECKS.items():
            try:
                results.append(Check(name, "ok", check(case)))
            except NotApplicable as reason:
                results.append(Check(name, "skip", str(reason)))
            except Exception as error:  # a method under test may raise anything
                text = str(error).strip() or "assertion failed"
                results.append(Check(name, "fail", f"{type(error).__name__}: {text}"))
    return results


def expect(holds: bool, problem: str) -> None:
    """Fail a check with a message."""
    if not holds:
        raise AssertionError(problem)


def difference(first: Tensors, second: Tensors) -> float:
    """Return the largest difference of two outputs in units of the tolerance's scale."""
    expect(first.keys() == second.keys(), "the outputs have other names")
    found = 0.0
    for name, value in first.items():
        a, b = value.double().cpu(), second[name].double().cpu()
        expect(a.shape == b.shape, f"{name} has shapes {tuple(a.shape)} and {tuple(b.shape)}")
        if a.numel():
            found = max(found, ((a - b).abs() / (1 + b.abs())).max().item())
    return found


def card_is_complete(case: Case) -> str:
    card = case.card
    expect(bool(card.summary and card.licence), "summary or licence is empty")
    expect(card.paper is not None or card.family == "baseline", "there is no paper")
    for name, variant in card.variants.items():
        known = card.skeleton_of(name)
        expect(known is None or known in skeletons(), f"{name}: unknown skeleton {known}")
        public = variant.weights is not None and (variant.weights.shipped or variant.weights.url)
        expect(not public or bool(variant.trained_on), f"{name}: weights, but no trained_on")
    if case.method.trainable and "nano" in card.variants:
        expect(card.variants["nano"].recipe is not None, "nano has no recipe")
    return f"{len(card.variants)} variants"


def shapes_agree(case: Case) -> str:
    rows = len(case.prepared)
    for name, array in case.prepared.rows.items():
        expect(len(array) == rows, f"{name} has {len(array)} rows, not {rows}")
    for name, value in case.outputs.items():
        expect(len(value) == rows, f"output {name} has {len(value)} rows, not {rows}")
    decoded = case.decode(case.outputs, case.prepared, case.sample)
    people = Predictions.from_samples(SCHEMAS[case.card.task], [("1", decoded)])
    joints = len(case.method.skeleton) if case.method.skeleton else 0
    column = TASKS[case.card.task]
    found = people.columns[column]
    due = {"keypoints": (joints, 2), "joints": (joints, 3), "box": (4,)}[column]
    expect(found.shape[1:] == due, f"{column} have shape {found.shape}")
    if case.card.needs_boxes:
        prepared = case.method.prepare(case.nobody)
        empty = case.run(case.method, {k: torch.from_numpy(v) for k, v in prepared.rows.items()})
        nobody = case.decode(empty, prepared, case.nobody)
        expect(len(nobody[column]) == 0, "nobody became somebody")
    return f"{rows} rows, {len(found)} people of {joints} joints"


def batches_do_not_matter(case: Case) -> str:
    worst = 0.0
    for row in range(len(case.prepared)):
        alone = case.run(case.method, {k: v[row : row + 1] for k, v in case.inputs.items()})
        together = {name: value[row : row + 1] for name, value in case.outputs.items()}
        worst = max(worst, difference(alone, together))
    expect(worst <= TOLERANCE, f"one row alone differs by {worst:.2g}")
    return f"largest difference {worst:.2g}"


def repeats_itself(case: Case) -> str:
    again = case.run(case.method, case.inputs)
    expect(all(torch.equal(again[k], v) for k, v in case.outputs.items()), "another answer")
    first, second = (load_method(case.spec).network.state_dict() for _ in range(2))
    expect(all(torch.equal(first[k], v) for k, v in second.items()), "other initial weights")
    return "equal bits"


def codec_round_trip(case: Case) -> str:
    """Joints drawn as ideal heatmaps and decoded come back within the documented quantisation."""
    method: Any = case.method
    if not hasattr(method, "encode") or not hasattr(method, "peaks"):
        raise NotApplicable("the method has no heatmaps to encode")
    width, height = method.input_size
    people, joints = len(BOXES), len(method.skeleton)
    low, high = np.array([width, height]) * 0.1, np.array([width, height]) * 0.9
    drawn = case.random.uniform(low, high, (people, joints, 2)).astype(np.float32)
    if "points" not in case.outputs:
        raise NotApplicable("joints are read from the maps of several views together")
    outputs = method.peaks(method.encode(torch.from_numpy(drawn)))
    context = case.prepared.context
    # Decoding could suppress a person or round to whole pixels: only its way back is taken.
    wanted = method.to_image(drawn, context, method.input_size)
    edge = method.to_image(np.array([[[0, 0], [width, height]]] * people), context,
                           method.input_size)  # fmt: skip
    pixel = np.abs(edge[:, 1] - edge[:, 0]) / (width, height)
    decoded = method.to_image(outputs["points"].numpy(), context, method.grid)
    miss = np.abs(decoded - wanted) / pixel[:, None]
    limit = method.quantisation + 1e-3
    expect(miss.max() <= limit, f"{miss.max():.2f} crop pixels, documented {limit:.2f}")
    return f"mean {miss.mean():.2f}, largest {miss.max():.2f} crop pixels"


def mirrors(case: Case) -> str:
    """A symmetric crop gives symmetric joints, up to the one column that a method may shift.

    Only peaks well inside the map count: at its border a shift drops a column.
    """
    method: Any = case.method
    if not getattr(method, "flip_tested", False) or "points" not in case.outputs:
        raise NotApplicable("the method has no flip test")
    crops = case.inputs["crops"]
    half = crops[:, :, : crops.shape[2] // 2]
    points = case.run(method, {"crops": torch.cat([half, half.flip(2)], dim=2)})["points"].double()
    twins = torch.as_tensor(method.skeleton.flip_order)
    paired = twins != torch.arange(len(twins))
    size = torch.tensor(method.grid)
    inside = ((points > 2) & (points < size - 3)).all(dim=-1)
    judged = paired & inside & inside[:, twins]
    if judged.sum() < 4:
        raise NotApplicable("the untrained network has its peaks at the border")
    sums = (points[..., 0] + points[:, twins, 0])[judged]
    apart = (points[..., 1] - points[:, twins, 1])[judged].abs()
    axis = sums.median().item()
    expect(abs(axis - method.grid[0]) <= 1, f"the axis is at {axis / 2}, not at half the width")
    share = ((sums - axis).abs().maximum(apart) < 0.02).double().mean().item()
    expect(share >= 0.9, f"only {share:.0%} of {len(sums)} peaks are symmetric")
    return f"{share:.0%} of {len(sums)} peaks, axis at {axis / 2:g} of {method.grid[0]}"


def devices_agree(case: Case) -> str:
    if not torch.cuda.is_available():
        raise NotApplicable("there is no GPU")
    method = copy.copy(case.method)
    method.network = copy.deepcopy(case.method.network).cuda()
    found = case.run(method, {name: value.cuda() for name, value in case.inputs.items()})
    worst = difference(found, case.outputs)
    expect(worst <= 10 * TOLERANCE, f"the GPU's answer differs by {worst:.2g}")
    return f"largest difference {worst:.2g}"


def half_precision(case: Case) -> str:
    """Report, never fail: how far float16 and bfloat16 carry the outputs."""
    told = []
    for dtype in (torch.float16, torch.bfloat16):
        method = copy.copy(case.method)
        method.network = copy.deepcopy(case.method.network).to(dtype)
        name = str(dtype).removeprefix("torch.")
        try:
            found = case.run(method, case.inputs)
        except RuntimeError as error:
            told.append(f"{name} does not run ({str(error).splitlines()[0][:60]})")
            continue
        drift = difference(
            {"a": next(iter(found.values()))}, {"a": next(iter(case.outputs.values()))}
        )
        told.append(f"{name} {drift:.2g}")
    return f"relative drift of {next(iter(case.outputs))}: {', '.join(told)}"


def weights_survive(case: Case) -> str:
    from safetensors.torch import save_file

    path = case.folder / "weights.safetensors"
    state = case.method.network.state_dict()
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    fresh = load_method(case.spec, path)
    again = case.run(fresh, case.inputs)
    expect(all(torch.equal(again[k], v) for k, v in case.outputs.items()), "another answer")
    return f"{len(state)} tensors"


def loss_decreases(case: Case) -> str:
    if not case.method.trainable:
        raise NotApplicable("the method is not trained here")
    method = load_method(case.spec)
    if next(method.network.parameters(), None) is None:
        raise NotApplicable("the network has nothing to learn")
    method.fit([(case.sample, case.truth)])
    rows = {k: torch.from_numpy(v) for k, v in training_rows(case, method).items()}
    method.network.train()
    recipe = method.variant.recipe
    rate = recipe.learning_rate if recipe else 1e-4
    optimiser = torch.optim.Adam(method.network.parameters(), lr=rate)
    losses = []
    torch.manual_seed(0)  # dropout
    for _ in range(STEPS):
        loss = method.loss(rows)
        expect(loss.shape == (), f"the loss has shape {tuple(loss.shape)}")
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    expect(bool(np.isfinite(losses).all()), "the loss is not finite")
    expect(min(losses[-3:]) < losses[0], f"from {losses[0]:.4g} to {losses[-1]:.4g}")
    return f"from {losses[0]:.4g} to {losses[-1]:.4g} in {STEPS} steps"


def training_rows(case: Case, method: Method) -> Mapping[str, NDArray[Any]]:
    """Return training rows of three people, their joints anywhere in their boxes."""
    return method.training_rows(case.sample, case.truth, np.random.default_rng(0))


def memory_is_bounded(case: Case) -> str:
    rows, limit = case.method.variant.batch_size, case.method.variant.resources.memory_gb
    found = peak_memory(case.method, rows) / 2**30
    expect(found <= limit, f"{found:.2f} GiB for {rows} rows, the card says {limit:g} GB")
    return f"{found:.2f} GiB for {rows} rows, the card says {limit:g} GB"


CHECKS: dict[str, Callable[[Case], str]] = {
    "card complete": card_is_complete,
    "shapes agree": shapes_agree,
    "batch of one equals batch of many": batches_do_not_matter,
    "deterministic": repeats_itself,
    "codec round trip": codec_round_trip,
    "flip equivariance": mirrors,
    "CPU and GPU agree": devices_agree,
    "float16 and bfloat16 drift": half_precision,
    "state_dict round trip": weights_survive,
    "loss decreases on one batch": loss_decreases,
    "memory bounded": memory_is_bounded,
}
