"""The cross-scan in standard ONNX operators: index arithmetic by `Gather`, the recurrence by `Scan`.

The recurrence is that of `medmamba.ops.cross_scan`, a token at a time, for all directions, channels and states
together: so no decay is divided by, and memory grows as the map does, not as its states. Sequences are (l, 4, b, ...)
here, tokens first, so that `Scan` has nothing to lay out anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from medmamba.network.ss2d import DIRECTIONS
from medmamba.ops.sequences import map_order

DOMAIN = "medmamba"


def mark(
    x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, backend: str = ""
) -> Tensor:
    """Stand for `medmamba::cross_scan` in a program that goes to ONNX: one node, which `expand` replaces."""
    _, height, width, *_ = proj.shape
    d, r, n = x.shape[2], dt_weight.shape[2], A.shape[2]
    marked: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::CrossScan",
        (x, proj, dt_weight, dt_bias, A, D),
        attrs={"height": height, "width": width, "channels": d, "rank": r, "states": n},
        dtype=x.dtype,
        shape=x.shape,
        version=1,
    )
    return marked


def expand(model: ModelProto) -> None:
    """Replace every marked node by standard operators, in place."""
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += _cross_scan(node) if node.domain == DOMAIN else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    standard = [opset for opset in model.opset_import if opset.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(standard)


class _Nodes:
    """Nodes in the order in which they were asked for; their names begin with the prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.made: list[NodeProto] = []

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        return self.several(1, operator, *inputs, **attributes)[0]

    def several(self, outputs: int, operator: str, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node; returns its outputs' names."""
        names = [f"{self.prefix}/{operator}_{len(self.made)}_{i}" for i in range(outputs)]
        self.made.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def constant(self, values: Any) -> str:
        """Add whole numbers."""
        return self("Constant", value=numpy_helper.from_array(np.asarray(values, dtype=np.int64)))


def _cross_scan(node: NodeProto) -> list[NodeProto]:
    """Shapes as `medmamba.ops.cross_scan` names them; l = h w, and x is (b, l, d)."""
    sizes = {attribute.name: attribute.i for attribute in node.attribute}
    d, r, n = sizes["channels"], sizes["rank"], sizes["states"]
    x, proj, dt_weight, dt_bias, A, D = node.input
    call = _Nodes(node.name)
    read, read_back = _orders(sizes["height"], sizes["width"])
    length, k = read.shape
    following, returning = call.constant(read), call.constant(read_back)

    def follow(values: str, width: int) -> str:  # (k, l, b, width) by position -> (l, k, b, width) by time
        return call("Gather", call("Reshape", values, call.constant([k * length, -1, width])), following)

    by_direction = call("Transpose", proj, perm=[3, 1, 2, 0, 4])  # (k, h, w, b, r + 2n)
    low, BC = call.several(2, "Split", by_direction, call.constant([r, 2 * n]), axis=-1)
    dt = call("MatMul", call("Reshape", low, call.constant([k, -1, r])), call("Transpose", dt_weight, perm=[0, 2, 1]))
    steps = call(
        "Reshape", _softplus(call, call("Add", dt, _between(call, dt_bias, 1))), call.constant([k, length, -1, d])
    )
    tokens = call("Transpose", x, perm=[1, 0, 2])  # (l, b, d)
    s, u = (_between(call, follow(values, d), 3) for values in (steps, call("Mul", steps, tokens)))  # (l, k, b, 1, d)
    B, C = call.several(2, "Split", follow(BC, 2 * n), call.constant([n, n]), axis=-1)
    B, C = _between(call, B, 4), _between(call, C, 3)  # (l, k, b, n, 1) and (l, k, b, 1, n)
    rates = _between(call, call("Transpose", A, perm=[0, 2, 1]), 1)  # (k, 1, n, d)

    first = call.constant(0)
    as_state = call("Shape", call("MatMul", call("Gather", B, first), call("Gather", s, first)))  # (k, b, n, d)
    step = _step(node.name, rates)
    _, y = call.several(2, "Scan", call("ConstantOfShape", as_state), s, u, B, C, body=step, num_scan_inputs=4)
    by_position = call("Gather", call("Reshape", y, call.constant([length * k, -1, d])), returning)  # (l, k, b, d)
    scanned = call("ReduceSum", by_position, call.constant([1]), keepdims=0)
    skipped = call("Mul", tokens, call("ReduceSum", D, call.constant([0]), keepdims=0))
    total = call("Add", scanned, skipped)
    return [*call.made, helper.make_node("Transpose", [total], [node.output[0]], perm=[1, 0, 2])]


def _step(name: str, rates: str) -> GraphProto:
    """h_t = exp(s A) h_{t-1} + s x B and y_t = C h_t, for all directions, images, states and channels at once."""
    h, s, u, B, C = names = [f"{name}/step/{letter}" for letter in "hsuBC"]
    call = _Nodes(f"{name}/step")
    state = call("Add", call("Mul", call("Exp", call("Mul", s, rates)), h), call("Mul", u, B))
    outputs = [state, call("MatMul", C, state)]
    inputs, outputs_ = (
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in side] for side in (names, outputs)
    )
    return helper.make_graph(call.made, f"{name}/step", inputs, outputs_)


def _softplus(call: _Nodes, v: str) -> str:
    """log(1 + e^v) as max(v, 0) + log(1 + e^-|v|), which overflows nowhere."""
    small = call("Exp", call("Neg", call("Abs", v)))
    one = call("Constant", value=numpy_helper.from_array(np.asarray(1, dtype=np.float32)))
    return call("Add", call("Relu", v), call("Log", call("Add", small, one)))


def _between(call: _Nodes, values: str, axis: int) -> str:
    return call("Unsqueeze", values, call.constant([axis]))


def _orders(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each direction reads at each time, and when it was at each position, (l, k).

    The first counts through (k, l) by position, the second through (l, k) by time.
    """
    order = map_order(height, width, torch.device("cpu")).numpy()
    direction = np.arange(DIRECTIONS)[:, None]
    return (order + direction * order.shape[1]).T, (order.argsort(axis=1) * DIRECTIONS + direction).T
