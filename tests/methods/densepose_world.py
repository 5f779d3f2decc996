"""What the tests of DensePose-RCNN share: a small embedded split, and counts of layers."""

from __future__ import annotations

import pytest
import torch

from benchmarks.protocols.densepose import DensePose
from benchmarks.world import coco, densepose
from harness.loading import load_method

BENCHMARK = DensePose()


def embedded_pictures(root, number):
    """Return the dataset of so many pictures of the validation split, made below a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco, "SPLITS", {"embedded-val": (2, number)})
        densepose.make_split(root, "embedded-val", workers=1)
    return BENCHMARK.load(root, "embedded-val")


def weightless(variant):
    with torch.device("meta"):
        return load_method(f"densepose-rcnn:{variant}")


def count(module):
    return sum(p.numel() for p in module.parameters())


def conv(inputs, outputs, kernel):
    return inputs * outputs * kernel**2 + outputs
