"""Counts against arithmetic done by hand, and timings that are about what they say."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from harness.loading import load_method
from harness.profiling import profile


def measured(network, *shapes, **options):
    """Profile a bare network that takes inputs of these shapes (without the batch)."""
    method = SimpleNamespace(
        name="toy",
        network=network,
        example_inputs=lambda rows: tuple(torch.zeros(rows, *shape) for shape in shapes),
    )
    return profile(method, **options)


class Toy(nn.Module):
    """One layer of every kind that counts, and one that nothing depends on."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, bias=False)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.linear = nn.Linear(4, 5)
        self.dead = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.grouped(self.up(torch.relu(self.norm(self.conv(x)))))
        self.dead(x)
        y = self.linear(x.mean(dim=(2, 3)))
        return {"heads": [y, x], "gram": x.flatten(2) @ x.flatten(2).transpose(1, 2)}


def test_counts_are_those_done_by_hand():
    found = measured(Toy(), (3, 16, 12), latency=False)
    conv, up, grouped = 3 * 8 * 9, 8 * 4 * 16, 4 * 9
    used = conv + 8 + 16 + up + grouped + 4 * 5 + 5
    assert found.parameters == used
    assert found.registered_parameters == used + 4 * 4 + 4
    inner, outer = 8 * 6, 16 * 12
    everything = conv * inner + up * inner + grouped * outer + 20 + 4 * 4 * outer + 16 * outer
    assert found.macs == everything  # the dead layer is computed too
    papers = conv * inner + up * outer + grouped * outer + 20 + 16 * outer
    assert found.paper_gflops == papers / 2**30
    assert found.input_shapes == ((1, 3, 16, 12),)
    assert found.latency == ()
    assert found.device == ""


def test_frozen_parameters_are_not_dead():
    network = nn.Linear(4, 5).requires_grad_(False)
    assert measured(network, (4,), latency=False).parameters == 25


def test_profile_leaves_the_network_as_it_was():
    method = load_method("hrnet:nano")
    method.network.train()
    before = {name: tensor.clone() for name, tensor in method.network.state_dict().items()}
    profile(method, batch_sizes=(2,))
    assert method.network.training
    assert all(torch.equal(before[k], v) for k, v in method.network.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in method.network.parameters())


class Sleeper(nn.Module):
    """Takes a known time, and longer while it is cold."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        time.sleep(0.2 if self.passes <= 3 else 0.01)
        return x * self.weight


def test_latency_leaves_the_warm_up_out(monkeypatch):
    monkeypatch.setattr("harness.profiling.MAX_SECONDS", 0.0)
    (timing,) = measured(Sleeper(), (4,), batch_sizes=(5,)).latency
    assert timing.batch_size == 5
    assert timing.passes == 10
    assert 10 <= timing.p50_ms <= timing.p90_ms <= timing.p99_ms < 200
    assert timing.rows_per_second == pytest.approx(5 / 0.0105, rel=0.5)


@pytest.mark.parametrize("rows", [1, 3])
def test_peak_memory_is_the_most_that_is_alive_at_once(rows, monkeypatch):
    monkeypatch.setattr("harness.profiling.MAX_SECONDS", 0.0)
    network = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 1))
    (timing,) = measured(network, (3, 10, 10), batch_sizes=(rows,)).latency
    weights, widest = 24 + 32 + 4, 8 + 8  # the first convolution's output and the ReLU's
    assert timing.peak_memory_mb * 2**20 == 4 * (weights + rows * 100 * (3 + widest))


def test_a_network_that_takes_no_images_is_profiled_too():
    found = profile(load_method("mean-pose:nano"), latency=False)
    assert (found.parameters, found.macs, found.paper_gflops) == (34, 0, 0.0)
