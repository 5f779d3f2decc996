"""Checkpoints: formats, digests, damage, mismatches, the cache and resumed downloads."""

from __future__ import annotations

import hashlib
import sys
import threading
import types
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness import weights
from harness.api import PrerequisiteError
from harness.api.card import Weights
from harness.cache import cache_root
from harness.checkpoint import read_state
from harness.loading import load_method
from harness.registry import method_card

NETWORKS = ["simplebaseline:nano", "hrnet:nano"]
HEADS = ("deconv_layers.", "final_layer.")


def random_state(spec, seed=0):
    """A state dict in which every tensor, batch norm's included, differs from the initial one."""
    generator = torch.Generator().manual_seed(seed)
    return OrderedDict(
        (name, torch.rand(tensor.shape, generator=generator) + 0.1)
        if tensor.is_floating_point()
        else (name, tensor + 7)
        for name, tensor in load_method(spec).network.state_dict().items()
    )


def mmpose(state, head, prefix=""):
    return OrderedDict(
        (f"{prefix}{head if name.startswith(HEADS) else 'backbone.'}{name}", tensor)
        for name, tensor in state.items()
    )


def write(kind, state, folder):
    """Save a state dict as somebody else would have."""
    path = folder / f"{kind}.pth"
    if kind == "safetensors":
        path = folder / "weights.safetensors"
        save_file(dict(state), path)
        return path
    halved = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    theirs = mmpose(state, "head.")
    theirs |= {"data_preprocessor.mean": torch.ones(3, 1, 1)}
    content = {
        "bare": state,
        "official": {"epoch": 140, "state_dict": state, "optimizer": {"step": torch.ones(1)}},
        "data-parallel": OrderedDict((f"module.{k}", v) for k, v in state.items()),
        "model": {"model": state, "iteration": 3},
        "half": halved,
        "old": OrderedDict((k, v) for k, v in state.items() if "num_batches" not in k),
        "mmpose0x": {"meta": {"epoch": 210}, "state_dict": mmpose(state, "keypoint_head.")},
        "mmpose1x": {"meta": {"seed": 0}, "state_dict": theirs},
    }
    torch.save(content[kind], path, _use_new_zipfile_serialization=kind != "old")
    return path


KINDS = ["bare", "official", "data-parallel", "model", "old", "mmpose0x", "mmpose1x", "safetensors"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", NETWORKS)
@torch.inference_mode()
def test_every_format_gives_the_same_network_to_the_bit(spec, kind, tmp_path):
    state = random_state(spec)
    reference = load_method(spec)
    reference.network.load_state_dict(state)
    images = torch.rand(2, 3, 128, 96)
    expected = reference.network(images)
    assert not torch.equal(load_method(spec).network(images), expected)
    loaded = load_method(spec, weights=write(kind, state, tmp_path))
    assert torch.equal(loaded.network(images), expected)


def test_half_precision_is_widened(tmp_path):
    state = random_state("hrnet:nano")
    loaded = load_method("hrnet:nano", weights=write("half", state, tmp_path))
    weight = loaded.network.final_layer.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["final_layer.weight"].half().float())


def test_mmpose_trained_simplebaseline_on_rgb(tmp_path):
    state = random_state("simplebaseline:nano")
    official = load_method("simplebaseline:nano", weights=write("bare", state, tmp_path))
    theirs = load_method("simplebaseline:nano", weights=write("mmpose1x", state, tmp_path))
    assert (official.channel_order, theirs.channel_order) == ("bgr", "rgb")
    assert load_method("hrnet:nano").channel_order == "rgb"


def error_of(action, *arguments):
    with pytest.raises(PrerequisiteError) as caught:
        action(*arguments)
    return str(caught.value)


def test_keys_that_do_not_fit_are_listed_and_counted(tmp_path):
    state = random_state("hrnet:nano")
    names = [name for name in state if "num_batches" not in name]
    for name in names[:5]:
        del state[name]
    state["extra.one"], state["extra.two"] = torch.ones(1), torch.ones(1)
    joints, width, *_ = state["final_layer.weight"].shape
    state["final_layer.weight"] = torch.ones(16, width, 1, 1)
    path = tmp_path / "odd.pth"
    torch.save(state, path)
    message = error_of(load_method, "hrnet:nano", path)
    assert "does not fit hrnet:nano" in message
    assert f"5 missing: {names[0]}, {names[1]}, {names[2]}, ...;" in message
    assert "2 unexpected: extra.one, extra.two;" in message
    shapes = f"(16, {width}, 1, 1) instead of ({joints}, {width}, 1, 1)"
    assert f"1 of another shape: final_layer.weight {shapes}" in message


def test_another_method_s_weights_do_not_fit(tmp_path):
    path = write("bare", random_state("simplebaseline:nano"), tmp_path)
    message = error_of(load_method, "hrnet:nano", path)
    assert "missing" in message
    assert "unexpected" in message


@pytest.mark.parametrize("kind", ["bare", "old", "safetensors"])
def test_a_truncated_file_is_an_error_wherever_it_is_cut(kind, tmp_path):
    path = write(kind, random_state("hrnet:nano"), tmp_path)
    content = path.read_bytes()
    for share in (0, 0.001, 0.2, 0.7, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        assert "is damaged, incomplete or no weights file" in error_of(read_state, path)


def test_noise_is_no_weights_file(tmp_path):
    path = tmp_path / "noise.pth"
    for seed in range(20):
        path.write_bytes(np.random.default_rng(seed).bytes(1000))
        assert "is damaged, incomplete or no weights file" in error_of(read_state, path)


def test_a_file_without_tensors_says_what_it_holds(tmp_path):
    path = tmp_path / "odd.pth"
    torch.save({"epoch": 3, "note": "hello"}, path)
    assert "no tensors by name (found a dictionary of epoch, note)" in error_of(read_state, path)
    torch.save([torch.ones(1)], path)
    assert "found a list" in error_of(read_state, path)


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from the file ran')",))


def test_code_in_a_file_is_never_run(tmp_path):
    path = tmp_path / "trap.pth"
    torch.save({"state_dict": {"conv1.weight": torch.ones(1)}, "trap": Trap()}, path)
    assert "holds 'exec', which is no tensor and is never built" in error_of(read_state, path)


def test_the_training_log_in_mmpose_1x_files_is_passed_over(tmp_path, monkeypatch):
    """Their checkpoints carry HistoryBuffer objects with numpy arrays and bound functions."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self.history = np.arange(3.0)
            self.count = np.float64(2)
            self.statistics = OrderedDict(mean=HistoryBuffer.mean)

        def mean(self):
            raise AssertionError("code from the file ran")

    HistoryBuffer.__module__ = module.__name__
    HistoryBuffer.__qualname__ = "HistoryBuffer"
    HistoryBuffer.mean.__module__ = module.__name__
    HistoryBuffer.mean.__qualname__ = "HistoryBuffer.mean"
    module.HistoryBuffer = HistoryBuffer
    path = tmp_path / "log.pth"
    with monkeypatch.context() as context:
        for name in ("mmengine", "mmengine.logging"):
            context.setitem(sys.modules, name, types.ModuleType(name))
        context.setitem(sys.modules, module.__name__, module)
        torch.save(
            {"message_hub": {"loss": HistoryBuffer()}, "state_dict": {"a": torch.ones(2)}}, path
        )
    assert read_state(path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("length", [8, 64])
def test_a_tampered_file_is_refused_before_it_is_opened(length, tmp_path, monkeypatch):
    path = write("bare", random_state("hrnet:nano"), tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:length]
    assert read_state(path, digest)
    assert read_state(path, digest.upper())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(torch, "load", None)  # opening it would now fail in another way
    assert f"expected {digest}: it is damaged" in error_of(read_state, path, digest)


def test_the_digest_in_mmpose_s_file_names_is_checked(tmp_path):
    path = write("bare", random_state("hrnet:nano"), tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    good = path.with_name(f"hrnet_w32_coco-{digest[:8]}_20200708.pth")
    path.rename(good)
    load_method("hrnet:nano", good)
    bad = good.rename(path.with_name("hrnet_w32_coco-0badc0de_20200708.pth"))
    assert "expected 0badc0de" in error_of(load_method, "hrnet:nano", bad)


def test_a_missing_file_is_named(tmp_path):
    assert "no.pth does not exist" in error_of(read_state, tmp_path / "no.pth")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_cache_is_the_user_s_own_unless_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("HARNESS_CACHE")
    assert cache_root().name == "pose-harness"


def card_with(**source):
    """HRNet's card, with another source of the nano variant's weights."""
    card = method_card("hrnet")
    variant = card.variants["nano"].model_copy(update={"weights": Weights(**source)})
    return card.model_copy(update={"variants": {"nano": variant}})


def test_import_checks_copies_and_is_found(cache, tmp_path):
    card = card_with()
    assert weights.locate(card, "nano") is None
    assert weights.status([card])[0].source == "none"
    path = write("mmpose0x", random_state("hrnet:nano"), tmp_path)
    imported = weights.import_file(card, "nano", path)
    assert imported == weights.locate(card, "nano") == cache / "weights" / "hrnet" / "nano.pth"
    assert imported.read_bytes() == path.read_bytes()
    row = weights.status([card])[0]
    assert (row.name, row.source, row.path) == ("hrnet:nano", "cache", str(imported))

    other = write("safetensors", random_state("hrnet:nano", seed=1), tmp_path)
    again = weights.import_file(card, "nano", other)
    assert again == weights.locate(card, "nano")
    assert not imported.exists(), "a variant has one file in the cache"


def test_an_import_that_does_not_fit_leaves_the_cache_alone(cache, tmp_path):
    card = card_with()
    imported = weights.import_file(
        card, "nano", write("bare", random_state("hrnet:nano"), tmp_path)
    )
    before = sorted((p.name, p.read_bytes()) for p in imported.parent.iterdir())
    wrong = write("bare", random_state("simplebaseline:nano"), tmp_path)
    assert "does not fit" in error_of(weights.import_file, card, "nano", wrong)
    assert sorted((p.name, p.read_bytes()) for p in imported.parent.iterdir()) == before


def test_a_cached_file_that_changed_is_refused(cache, tmp_path):
    path = write("safetensors", random_state("hrnet:nano"), tmp_path)
    imported = weights.import_file(card_with(), "nano", path)
    load_method("hrnet:nano", imported)
    content = bytearray(imported.read_bytes())
    content[-1] ^= 1
    imported.write_bytes(content)
    assert "it is damaged" in error_of(load_method, "hrnet:nano", imported)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(blocked))
    path = write("bare", random_state("hrnet:nano"), tmp_path)
    assert "cannot be written" in error_of(weights.import_file, card_with(), "nano", path)


def test_a_shipped_file_that_is_gone_is_an_error(cache):
    card = card_with(shipped="gone.safetensors", sha256="0" * 64)
    assert "gone.safetensors, which does not exist" in error_of(weights.locate, card, "nano")


@pytest.fixture
def server():
    """A file server that knows ranges, can break off, and counts what it sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content, start = server.content, 0
            if server.ranges and (wanted := self.headers.get("Range")):
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = server.breaks_at or len(content)
            server.sent.append((start, end))
            self.wfile.write(content[start:end])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.ranges, server.breaks_at, server.sent = b"", True, None, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/hrnet_nano.pth"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def public(server, tmp_path):
    """HRNet's card, whose nano weights lie on the server."""
    server.content = write("bare", random_state("hrnet:nano"), tmp_path).read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()[:8]
    return card_with(url=server.url, sha256=digest)


def test_fetch_downloads_verifies_and_does_it_once(cache, server, public):
    assert weights.status([public])[0].source == "public"
    seen = []
    path = weights.fetch(public, "nano", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == server.content
    assert seen[-1] == (len(server.content), len(server.content))
    assert weights.fetch(public, "nano") == path
    assert len(server.sent) == 1
    load_method("hrnet:nano", path)


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(cache, server, public, ranges):
    server.ranges, server.breaks_at = ranges, 100_000
    assert "after 100000 of" in error_of(weights.fetch, public, "nano")
    assert weights.locate(public, "nano") is None
    server.breaks_at = None
    assert weights.fetch(public, "nano").read_bytes() == server.content
    assert server.sent[1][0] == (100_000 if ranges else 0)


def test_a_complete_part_is_only_verified(cache, server, public):
    part = cache / "weights" / "hrnet" / "nano.pth.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.content)
    assert weights.fetch(public, "nano").read_bytes() == server.content
    assert server.sent == []


def test_a_wrong_download_is_thrown_away(cache, server, public):
    server.content = b"something else"
    assert "it is damaged, incomplete or another file" in error_of(weights.fetch, public, "nano")
    assert list((cache / "weights" / "hrnet").iterdir()) == []


def test_unreachable_and_unpublished_weights_are_told_apart(cache):
    nowhere = card_with(url="http://127.0.0.1:9/a.pth", sha256="00000000")
    assert "Cannot download http://127.0.0.1:9/a.pth" in error_of(weights.fetch, nowhere, "nano")
    assert "no public checkpoint" in error_of(weights.fetch, card_with(), "nano")


def test_training_starts_from_the_tensors_that_fit():
    """Of HRNet's trunk everything; the last layer has other outputs and stays as it was."""
    path = weights.locate(method_card("hrnet"), "nano")
    method, other = load_method("associative-embedding:nano"), read_state(path)
    before = {name: tensor.clone() for name, tensor in method.network.state_dict().items()}
    digest = weights.start_from(method, "hrnet:nano")
    assert digest == method_card("hrnet").variants["nano"].weights.sha256
    after = method.network.state_dict()
    for name, tensor in after.items():
        own = name.startswith("final_layer")
        assert torch.equal(tensor, before[name] if own else other[name]), name


def test_training_starts_from_weights_that_are_there_and_fit(cache):
    with pytest.raises(PrerequisiteError, match="whose weights are not on this machine"):
        weights.start_from(load_method("hrnet:nano"), "hrnet:w32-256x192")
    with pytest.raises(PrerequisiteError, match="No tensor of hrnet:nano has name and shape"):
        weights.start_from(load_method("martinez:nano"), "hrnet:nano")
