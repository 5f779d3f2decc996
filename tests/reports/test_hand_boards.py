"""Published predictions of hands and results on embedded hands: one layout, never one ranking."""

from __future__ import annotations

import json

import numpy as np
import pytest
from site_pages import Page

from benchmarks.world import hand_files
from harness import registry
from harness.data import DataFolders
from harness.records.record import Evidence
from harness.scoring import ScoreOptions, score_predictions
from harness.view import View
from reports.site import build_site

MAKERS = {"nyu": hand_files.make_nyu, "icvl": hand_files.make_icvl}


@pytest.fixture
def embedded(tmp_path, request, monkeypatch):
    """A root with a dozen embedded frames, and predictions for them with noise of some pixels."""
    monkeypatch.setitem(hand_files.SPLITS, "embedded-val", (2, 12))
    root = tmp_path / "embedded"
    MAKERS[request.param](root, "embedded-val", workers=1)
    truth = registry.benchmark(f"{request.param}-hand").load(root, "embedded-val").truth.uvd
    for name, noise in (("near", 1.0), ("far", 4.0)):
        found = truth + np.random.default_rng(0).normal(0, noise, truth.shape)
        np.savez(tmp_path / f"{name}.npz", predictions=found)
    return request.param, root


@pytest.mark.parametrize("embedded", MAKERS, indirect=True)
def test_published_predictions_and_embedded_hands_have_tables_of_one_layout(
    shared_data, tmp_path, embedded
):
    short, root = embedded
    real = shared_data / f"{short}_hand"
    expected = {r["method"]: r for r in json.loads((real / "expected.json").read_text())}
    jobs = [(m, real, "test", shared_data / r["files"]["predictions"]) for m, r in expected.items()]
    jobs += [(name, root, "embedded-val", tmp_path / f"{name}.npz") for name in ("near", "far")]
    records = []
    for method, data, split, predictions in jobs:
        options = ScoreOptions(
            benchmark=f"{short}-hand",
            predictions=predictions,
            data=DataFolders(own={f"{short}-hand": data}),
            split=split,
            method=method,
            workspace=None,
        )
        records.append(score_predictions(options, View()).record)
    assert [record.synthetic for record in records] == [split != "test" for *_, split, _ in jobs]
    means = {record.method: record.metrics["mean_error_mm"] for record in records}

    build_site(records, lambda r: Evidence(tmp_path / r.id), tmp_path / "site",
               registry.benchmark, registry.method_card)  # fmt: skip
    page = Page(tmp_path / "site" / "benchmark" / f"{short}-hand.html")
    tables = {name.split("-")[0]: rows for name, rows in page.sections.items()}
    assert list(tables) == ["measured", "embedded"]
    assert tables["measured"][:2] == tables["embedded"][:2]
    for kind, methods in (("measured", expected), ("embedded", ("near", "far"))):
        _, header, *rows = tables[kind]
        best_first = sorted(methods, key=means.__getitem__)
        for method, row in zip(best_first, rows, strict=True):
            cells = dict(zip(header, row, strict=True))
            assert cells["Method"].startswith(method)
            assert cells["Mean error (mm)"].split()[0] == f"{means[method]:.2f}"
    for method, record in expected.items():
        stated = record["metrics"]["mean_error_mm"]
        assert means[method] == pytest.approx(stated, abs=record["tolerance"])
