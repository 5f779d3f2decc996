"""A frozen TensorFlow graph, written here byte by byte, gives MobileNet-thin its weights."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
from weights_recipe import recipe_state

from harness import load_method
from harness.api import PrerequisiteError
from harness.checkpoint import read_state
from harness.frozen_graph import read_constants
from harness.registry import method_card, method_class

SPEC = "openpose:mobilenet-thin-368x368"


def varint(value: int) -> bytes:
    """Encode a number as protocol buffers do: seven bits a byte, the last byte below 128."""
    head = b""
    while value > 127:
        head, value = head + bytes([value & 127 | 128]), value >> 7
    return head + bytes([value])


def field(number: int, content: bytes | int) -> bytes:
    """Encode a field: a number, or bytes with their length before them."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def constant(name: str, shape: tuple[int, ...], values: bytes, dtype: int = 1) -> bytes:
    """Encode a node of the kind Const; ``values`` are the tensor's last field."""
    dims = b"".join(field(2, field(1, length)) for length in shape)
    tensor = field(1, dtype) + field(2, dims) + values
    value = field(1, b"value") + field(2, field(8, tensor))
    kind = field(1, b"dtype") + field(2, field(6, dtype))
    node = field(1, name.encode()) + field(2, b"Const") + field(5, kind) + field(5, value)
    return field(1, node)


def whole(array: np.ndarray) -> bytes:
    """Encode values as the tensor's bytes."""
    return field(4, array.astype("<f4").tobytes())


def graph_names(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Bring a tensor of the network to the graph's name and layout."""
    *place, kind = name.split(".")
    scope = "MobilenetV1" if place[0].startswith("Conv2d") else "Openpose"
    layer = "/".join([scope, place[0]])
    if re.fullmatch(r"\d", place[1] if len(place) > 1 else ""):
        layer += f"_{int(place[1]) + 1}"
    if place[-1] in ("depthwise", "pointwise"):
        layer += f"_{place[-1]}"
    if kind == "bias":
        return f"{layer}/Conv2D_bn_offset", array
    if place[-1] == "depthwise":
        return f"{layer}/depthwise_weights", array.transpose(2, 3, 0, 1)
    return f"{layer}/weights", array.transpose(2, 3, 1, 0)


@pytest.fixture(scope="module")
def state():
    method = method_class("openpose")(method_card("openpose"), "mobilenet-thin-368x368")
    return recipe_state(method.network.state_dict())


@pytest.fixture(scope="module")
def graph(state):
    """A graph as TensorFlow writes one: constants among other nodes, and a version at the end."""
    placeholder = field(1, field(1, b"image") + field(2, b"Placeholder"))
    axis = constant("concat/axis", (), field(7, 3), dtype=3)
    named = (graph_names(name, tensor.numpy()) for name, tensor in state.items())
    nodes = b"".join(constant(name, array.shape, whole(array)) for name, array in named)
    return placeholder + nodes + axis + field(4, field(1, 134))


def test_the_network_gets_every_constant(graph, state, tmp_path):
    path = tmp_path / "graph_opt.pb"
    path.write_bytes(graph)
    assert b"Openpose/MConv_Stage6_L2_5_pointwise/weights" in graph
    found = load_method(SPEC, path).network.state_dict()
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[name], state[name]) for name in state)


def test_a_list_of_values_goes_on_with_its_last_one(tmp_path):
    path = tmp_path / "graph.pb"
    listed = field(5, struct.pack("<2f", 0.5, -2.0))
    path.write_bytes(constant("b", (2, 2), listed) + constant("a", (3,), whole(np.arange(3))))
    constants = read_constants(path)
    np.testing.assert_array_equal(constants["b"], [[0.5, -2.0], [-2.0, -2.0]])
    np.testing.assert_array_equal(constants["a"], [0, 1, 2])


def test_a_constant_of_another_size_is_refused(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(constant("a", (4,), whole(np.arange(3))))
    with pytest.raises(PrerequisiteError, match=r"constant a holds 3 values, its shape is \[4\]"):
        read_state(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_graph_that_is_cut_off_is_refused(graph, share, tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(graph[: int(share * len(graph))])
    with pytest.raises(PrerequisiteError, match="damaged"):
        read_state(path)
