"""Figures and galleries: what is drawn is what was measured."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.api import COCO_17, Curve
from harness.records.record import Evidence
from reports.drawings import LONGEST_SIDE, Truth
from reports.figures import (
    Axis,
    Point,
    Series,
    bar_figure,
    line_figure,
    pareto,
    scatter_figure,
    stacked_figure,
)
from reports.gallery import EACH, choose, draw_gallery
from reports.skeletons import skeleton_overlay

NUMBER = r"-?\d+(?:\.\d+)?"


def curve(y, name="line", x=None):
    x = np.linspace(0, 1, len(y)) if x is None else np.asarray(x, float)
    return Curve(name, x, np.asarray(y, float), "recall", "precision")


def drawn(svg) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg))


def segments(element) -> list[list[tuple[float, float]]]:
    """Return the points of a path, one list per stroke."""
    strokes = element.get("d").split("M")[1:]
    return [[tuple(map(float, re.findall(NUMBER, p))) for p in s.split("L")] for s in strokes]


def test_a_curve_runs_through_its_points():
    figure = drawn(line_figure([curve([1.0, 0.5, 0.0])], "title"))
    (line,) = [e for e in figure.iter("path") if "line" in e.get("class")]
    ((start, middle, end),) = segments(line)
    assert start[0] < middle[0] < end[0]
    assert start[1] < middle[1] < end[1]  # down on the page is down in value
    assert middle == ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)


def test_a_curve_breaks_where_it_has_no_value():
    figure = drawn(line_figure([curve([1, 0.9, np.nan, 0.5, np.inf, 0.2])], "title"))
    (line,) = [e for e in figure.iter("path") if "line" in e.get("class")]
    assert [len(stroke) for stroke in segments(line)] == [2, 1, 1]


def test_texts_of_a_figure_are_escaped():
    evil = Curve("n", np.arange(2.0), np.arange(2.0), "<script>", "a & b")
    figure = drawn(line_figure([evil], "</title><script>"))
    assert figure.find("script") is None
    assert figure.find("title").text == "</title><script>"
    assert {"<script>", "a & b"} <= {text.text for text in figure.iter("text")}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_an_axis_holds_all_values_between_few_round_ticks(values):
    axis = Axis.over(np.array(values), 0.0, 400.0)
    slack = 1e-9 * max(1.0, abs(axis.low), abs(axis.high))
    assert axis.low - slack <= min(values)
    assert max(values) <= axis.high + slack
    assert 2 <= len(axis.ticks()) <= 12
    assert len({label for _, label in axis.ticks()}) == len(axis.ticks())


POINTS = st.lists(
    st.builds(Point, st.just("p"), st.integers(0, 9).map(float), st.integers(0, 9).map(float)),
    max_size=12,
)


@given(POINTS, st.booleans())
def test_the_pareto_front_is_what_no_other_point_beats(points, higher):
    def beats(a, b):
        good, bad = (a.y, b.y) if higher else (b.y, a.y)
        return a.x <= b.x and good >= bad and (a.x, a.y) != (b.x, b.y)

    front = pareto(points, higher_is_better=higher)
    expected = {(b.x, b.y) for b in points if not any(beats(a, b) for a in points)}
    assert {(p.x, p.y) for p in front} == expected
    assert len(front) == len(expected)
    assert [p.x for p in front] == sorted(p.x for p in front)


def test_a_scatter_figure_places_points_and_joins_the_best():
    cheap, poor, dear = Point("a", 1, 60, 58, 62), Point("b <i>", 5, 50), Point("c", 10, 70)
    figure = drawn(scatter_figure([Series("s", (cheap, poor, dear))], "x", "y", "title"))
    marks = {m.find("title").text: m for m in figure.iter("circle")}
    assert set(marks) == {"a", "b <i>", "c"}
    at = {name: (float(m.get("cx")), float(m.get("cy"))) for name, m in marks.items()}
    assert at["a"][0] < at["b <i>"][0] < at["c"][0]
    assert at["c"][1] < at["a"][1] < at["b <i>"][1]
    (front,) = [e for e in figure.iter("path") if "front" in e.get("class")]
    assert segments(front) == [[at["a"], at["c"]]]
    assert sum("whisker" in e.get("class") for e in figure.iter("path")) == 1
    assert {"a", "c"} <= {text.text for text in figure.iter("text")}


def test_bars_are_as_long_as_their_values():
    figure = drawn(bar_figure({"nose": [50.0, None], "hip": [100.0, 25.0]}, ("a", "b"), "title"))
    widths = [float(bar.get("width")) for bar in figure.iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.02)
    assert widths[2] == pytest.approx(widths[0] / 2, abs=0.02)
    assert [bar.get("class") for bar in figure.iter("rect")] == ["bar s0", "bar s0", "bar s1"]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_stacked_bars_fill_the_width_with_their_shares(counts):
    figure = drawn(stacked_figure({"nose": counts}, "title"))
    bars = [(float(b.get("x")), float(b.get("width"))) for b in figure.iter("rect")]
    assert len(bars) == sum(count > 0 for count in counts)
    full = 460 - 12 - 116
    given = [count for count in counts if count]
    for (_, width), count in zip(bars, given, strict=True):
        assert width == pytest.approx(full * count / sum(counts), abs=0.03)
    for (x, width), (following, _) in itertools.pairwise(bars):
        assert following == pytest.approx(x + width, abs=0.02)


def test_an_overlay_draws_every_limb_whose_ends_are_known():
    person = np.arange(34, dtype=float).reshape(17, 2)
    person[9] = np.nan  # left wrist
    overlay = drawn(skeleton_overlay((100, 50), person[None], person[None] + 0.25, COCO_17))
    assert overlay.get("viewBox") == "-0.5 -0.5 100 50"
    for kind, shift in (("truth", 0.0), ("predicted", 0.2)):
        paths = {
            e.get("class").split()[1]: segments(e)
            for e in overlay.iter("path")
            if e.get("class").startswith(kind)
        }
        lines = {tuple(line) for side in paths.values() for line in side}
        expected = {
            tuple((float(x) + shift, float(y) + shift) for x, y in (person[a], person[b]))
            for a, b in COCO_17.limbs
            if 9 not in (a, b)
        }
        assert lines == expected
        assert len(paths["left"]) == len(paths["right"]) - 1


@pytest.fixture
def known(leaderboard, tmp_path):
    """A record with its data and evidence copied to a place that may be changed."""
    record = leaderboard.records[3]
    root = tmp_path / "data"
    shutil.copytree(record.data_root, root)
    folder = tmp_path / "evidence"
    shutil.copytree(leaderboard.evidence(record).folder, folder)
    return dataclasses.replace(record, data_root=str(root)), Evidence(folder), root


def gallery(known, tmp_path):
    record, evidence, _ = known
    return draw_gallery(record, evidence, registry.benchmark("coco"), Truth, tmp_path / "out")


def test_a_gallery_shows_the_best_the_worst_and_random_others(known, tmp_path):
    scores = known[1].per_sample()
    by_id = dict(zip(scores["sample_id"], scores["oks"], strict=True))
    pictures = gallery(known, tmp_path).pictures
    assert len({p.sample_id for p in pictures}) == len(pictures) == 3 * EACH
    ordered = sorted(by_id.values())
    best = [p.score for p in pictures if p.kind == "best"]
    worst = [p.score for p in pictures if p.kind == "worst"]
    assert best == ordered[::-1][:EACH]
    assert worst == ordered[:EACH]
    assert all(by_id[p.sample_id] == p.score for p in pictures)
    assert gallery(known, tmp_path / "again").pictures == pictures


def test_a_gallery_draws_the_predictions_that_were_scored(known, tmp_path):
    record, evidence, root = known
    coco = registry.benchmark("coco")
    dataset, predictions = coco.load(root, record.split), evidence.predictions()
    for picture in gallery(known, tmp_path).pictures:
        index = predictions.sample_ids.index(picture.sample_id)
        paths = list(drawn(picture.overlay).iter("path"))
        for kind, people in (
            ("predicted", predictions.rows_of(index)["keypoints"]),
            ("truth", dataset.truth.keypoints[2 * index : 2 * index + 2, :, :2]),
        ):
            points = {
                point
                for path in paths
                if path.get("class").startswith(kind)
                for line in segments(path)
                for point in line
            }
            assert points == {tuple(point) for point in people.round(1).reshape(-1, 2).tolist()}
        file = tmp_path / picture.file.replace(picture.file.split("/")[0], "out")
        assert cv2.imread(str(file)).shape == (picture.size[1], picture.size[0], 3)


def test_large_pictures_are_made_small(known, tmp_path):
    for file in (known[2] / "val2017").iterdir():
        cv2.imwrite(str(file), np.zeros((600, 900, 3), np.uint8))
    (picture, *_) = gallery(known, tmp_path).pictures
    assert picture.size == (900, 600)
    small = cv2.imread(str(tmp_path / "out" / picture.file.split("/")[1]))
    assert small.shape == (320, LONGEST_SIDE, 3)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 9, 40])
def test_no_sample_is_chosen_twice_however_few_there_are(count, leaderboard):
    scores = np.random.default_rng(count).permutation(count).astype(float)

    class Fake:
        def per_sample(self):
            return {
                "sample_id": np.array([f"s{i}" for i in range(count)] + ["unscored"], object),
                "error": np.append(scores, np.nan),
            }

    chosen, name = choose(leaderboard.records[0], Fake(), higher_is_better=False)
    assert name == "error"
    assert len({sample for _, sample, _ in chosen}) == len(chosen) == min(count, 3 * EACH)
    if count > 1:
        assert min(chosen, key=lambda c: c[2])[0] == "best"
        assert max(chosen, key=lambda c: c[2])[0] == "worst"


def test_a_page_says_why_there_are_no_pictures(known, tmp_path):
    root = known[2]
    annotations = root / "annotations" / "person_keypoints_val2017.json"
    annotations.write_text(annotations.read_text().replace("2000.0", "2001.0"))
    assert "has changed" in gallery(known, tmp_path / "changed").reason
    shutil.rmtree(root)
    assert "no longer where it was" in gallery(known, tmp_path / "gone").reason


def test_a_lost_picture_is_no_crash(known, tmp_path):
    shutil.rmtree(known[2] / "val2017")
    (known[2] / "val2017").mkdir()
    found = gallery(known, tmp_path)
    assert found.pictures == ()
    assert "no longer where it was" in found.reason
