"""Training: it learns, it is repeatable, and an interruption changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from harness.api import Card, Method, Prepared, PrerequisiteError, Rows, Sample, file_digest
from harness.api.card import Recipe, Variant
from harness.training import CHECKPOINT, train

RECIPE = Recipe(data="toy:train", epochs=4, batch_size=5, learning_rate=0.05, drops=(3,), seed=7)


class Line(Method):
    """Learns y = 2 x1 - x2 with batch norm and dropout; ``training_rows`` draws its own noise."""

    trainable = True

    def __init__(self) -> None:
        card = Card(
            name="line", title="Line", family="baseline", task="people-2d", skeleton=None,
            needs_boxes=False, summary="", paper=None, licence="",
            variants={"toy": Variant(input_size=(1, 1))},
        )  # fmt: skip
        super().__init__(card, "toy")
        torch.manual_seed(1)
        self.network = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1)
        )

    def prepare(self, sample: Sample) -> Prepared:
        raise AssertionError("training never asks for this")

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        raise AssertionError("training never asks for this")

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        raise AssertionError("training never asks for this")

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        x = truth["x"] + random.normal(0, 0.01, truth["x"].shape)
        y = 2 * x[:, :1] - x[:, 1:]
        return {"x": x.astype(np.float32), "y": y.astype(np.float32)}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.mse_loss(self.network(rows["x"]), rows["y"])


def samples() -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
    """Samples of no, one, two or three rows: 57 rows in all."""
    random = np.random.default_rng(0)
    return [(Sample(str(i)), {"x": random.normal(size=(i % 4, 2))}) for i in range(39)]


def tensors(path: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


def test_the_loss_falls(tmp_path: Path) -> None:
    seen: list[tuple[float, float, float]] = []
    longer = RECIPE.model_copy(update={"epochs": 30, "drops": (25,)})
    method = Line()
    result = train(method, samples(), longer, tmp_path, progress=lambda *p: seen.append(p))
    assert result.loss < 0.7 * seen[0][1]  # dropout and small batches keep it up
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    error = method.network(x)[:, 0] - (2 * x[:, 0] - x[:, 1])
    assert error.square().mean() < 0.5  # the variance is 5
    assert [epoch for epoch, _, _ in seen if epoch % 1 == 0] == list(range(1, 31))


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_convolutions_of_any_dimension_are_trained(
    convolution: type[nn.Module], tmp_path: Path
) -> None:
    method = Line()
    layer = convolution(1, 4, 1)
    place = (1,) * (layer.weight.dim() - 3)
    method.network = nn.Sequential(
        nn.Unflatten(1, (1, 2, *place)), layer, nn.Flatten(), nn.Linear(8, 1)
    )
    before = layer.weight.detach().clone()
    assert np.isfinite(train(method, samples(), RECIPE, tmp_path).loss)
    assert not torch.equal(layer.weight, before)


def test_training_is_repeatable(tmp_path: Path) -> None:
    first = train(Line(), samples(), RECIPE, tmp_path / "a")
    again = train(Line(), samples(), RECIPE, tmp_path / "b")
    assert first.sha256 == again.sha256
    other = RECIPE.model_copy(update={"seed": 8})
    assert train(Line(), samples(), other, tmp_path / "c").sha256 != first.sha256


@pytest.mark.parametrize("stop", [0.5, 1.0, 2.5, 3.0])
def test_interrupted_and_resumed_is_the_same_to_the_bit(tmp_path: Path, stop: float) -> None:
    whole = train(Line(), samples(), RECIPE, tmp_path / "whole")

    class Stopping(Line):
        calls = 0

        def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
            self.calls += 1
            if self.calls > stop * 12:  # 57 rows are 11 batches of 5 and one of 2
                raise KeyboardInterrupt
            return super().loss(rows)

    with pytest.raises(KeyboardInterrupt):
        train(Stopping(), samples(), RECIPE, tmp_path / "parts")
    resumed = train(Line(), samples(), RECIPE, tmp_path / "parts")
    assert tensors(resumed.weights) == tensors(whole.weights)
    assert resumed.loss == whole.loss


def test_every_row_is_used_once_an_epoch_and_a_lone_last_one_is_left_out(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Counting(Line):
        def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
            sizes.append(len(rows["x"]))
            return super().loss(rows)

    one = RECIPE.model_copy(update={"epochs": 1})
    train(Counting(), samples(), one, tmp_path / "a")
    assert sizes == [5] * 11 + [2]
    sizes.clear()
    train(Counting(), samples(), one.model_copy(update={"batch_size": 28}), tmp_path / "b")
    assert sizes == [28, 28]


def test_the_learning_rate_drops_after_the_epochs_of_the_recipe(tmp_path: Path) -> None:
    train(Line(), samples(), RECIPE, tmp_path)
    kept = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert kept["optimiser"]["param_groups"][0]["lr"] == pytest.approx(0.005)


def test_the_record_beside_the_weights_says_where_they_come_from(tmp_path: Path) -> None:
    result = train(Line(), samples(), RECIPE, tmp_path, data_digest="abc", threads=1)
    assert result.weights == tmp_path / "line-toy.safetensors"
    record = json.loads(result.weights.with_suffix(".json").read_text())
    assert record["sha256"] == result.sha256 == file_digest(result.weights)
    assert record["recipe"] == RECIPE.model_dump(mode="json")
    assert record["data_digest"] == "abc"
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__


def test_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = train(Line(), samples(), RECIPE, tmp_path)
    calls: list[float] = []
    again = train(Line(), samples(), RECIPE, tmp_path, progress=lambda *p: calls.append(p[0]))
    assert not calls
    assert again.sha256 == first.sha256
    train(Line(), samples(), RECIPE, tmp_path, resume=False, progress=lambda *p: calls.append(p[0]))
    assert calls


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train(Line(), samples(), RECIPE, tmp_path)
    other = RECIPE.model_copy(update={"learning_rate": 0.1})
    with pytest.raises(PrerequisiteError, match="another method, recipe or data set"):
        train(Line(), samples(), other, tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(PrerequisiteError, match="damaged"):
        train(Line(), samples(), RECIPE, tmp_path)


def test_bad_input_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PrerequisiteError, match=r"file/out .*cannot be written"):
        train(Line(), samples(), RECIPE, tmp_path / "file" / "out")
    with pytest.raises(PrerequisiteError, match="no training samples"):
        train(Line(), [], RECIPE, tmp_path)

    class Fixed(Line):
        trainable = False

    with pytest.raises(PrerequisiteError, match="cannot be trained"):
        train(Fixed(), samples(), RECIPE, tmp_path)


def test_a_loss_that_is_no_number_stops_training(tmp_path: Path) -> None:
    bad = samples()
    bad[5][1]["x"][:] = np.nan
    with pytest.raises(RuntimeError, match="loss is nan in epoch 1"):
        train(Line(), bad, RECIPE, tmp_path)
