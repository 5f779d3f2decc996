"""TensorFlow's frozen graphs: the constants of a ``.pb`` file by name, read without TensorFlow.

A frozen graph is one protocol buffer, a ``GraphDef``. Only the fields that say what a constant
holds are declared here, with the numbers of ``tensorflow/core/framework`` (graph, node_def,
attr_value, tensor and tensor_shape.proto, TensorFlow 2.17); the library skips all others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT32 = 1
"""TensorFlow's number for the type."""

# Message: its fields as (name, number, type, repeated).
_MESSAGES = {
    "Dim": [("size", 1, "int64", False)],
    "Shape": [("dim", 2, "Dim", True)],
    "Tensor": [
        ("dtype", 1, "int32", False),
        ("tensor_shape", 2, "Shape", False),
        ("tensor_content", 4, "bytes", False),
        ("float_val", 5, "float", True),
    ],
    "Value": [("tensor", 8, "Tensor", False)],
    "Entry": [("key", 1, "string", False), ("value", 2, "Value", False)],
    "Node": [("name", 1, "string", False), ("op", 2, "string", False), ("attr", 5, "Entry", True)],
    "Graph": [("node", 1, "Node", True)],
}


def read_constants(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float constants of a frozen graph by name.

    Raises
    ------
    ValueError
        If the file is no frozen graph, or a constant holds another number of values than its
        shape says.
    """
    from google.protobuf.message import DecodeError

    graph = _graph_class()()
    try:
        graph.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"it is no frozen graph ({error})") from None
    constants = {}
    for node in graph.node:
        if node.op != "Const":
            continue
        (tensor,) = [entry.value.tensor for entry in node.attr if entry.key == "value"]
        if tensor.dtype == FLOAT32:
            constants[node.name] = _array(node.name, tensor)
    return constants


def _array(name: str, tensor: Any) -> NDArray[np.float32]:
    """Return a tensor's values; they are its bytes, or a list in which the last one may go on."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    size = int(np.prod(shape))
    if tensor.tensor_content:
        values = np.frombuffer(tensor.tensor_content, "<f4")
    else:
        values = np.array(tensor.float_val, np.float32)
        values = np.append(values, np.repeat(values[-1:], size - len(values)))
    if len(values) != size:
        raise ValueError(f"its constant {name} holds {len(values)} values, its shape is {shape}")
    return values.reshape(shape)


def _graph_class() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="frozen_graph.proto", package="frozen")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = declared.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".frozen.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("frozen.Graph"))
