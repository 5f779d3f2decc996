"""Which benchmarks a gallery can draw: a result of any of them must not stop the site."""

from __future__ import annotations

import pytest

from harness import registry
from reports.gallery import _drawable


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("coco", True),
        ("lip", True),  # no training data, but true poses
        ("posetrack", True),
        ("mpii-multi", False),  # the truth of a picture is not handed out
        ("densepose", True),  # no skeleton, but annotated surfaces
        ("h36m", True),
        ("nyu-hand", True),
        ("h36m-mesh", True),
    ],
)
def test_only_pictures_with_known_people_are_drawn(name: str, drawn: bool) -> None:
    assert _drawable(registry.benchmark(name)) is drawn
