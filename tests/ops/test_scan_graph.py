"""The scan as an ONNX graph against the readable loop in float64, on the shapes of the other backends."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from scan_cases import cross_scan_case, relative_error

from medmamba.export import scan_graph
from medmamba.ops import reference


def run_graph(case):
    """What onnxruntime makes of a graph that is the scan alone, with all its arguments as inputs."""
    tensors = {name: t.float() for name, t in case.items()}
    tensors["x"] = tensors["x"].flatten(1, 2)
    _, height, width, *_ = tensors["proj"].shape
    sizes = {"height": height, "width": width, "channels": tensors["x"].shape[2]}
    sizes |= {"rank": tensors["dt_weight"].shape[2], "states": tensors["A"].shape[2]}
    node = helper.make_node("CrossScan", list(tensors), ["y"], name="scan", domain=scan_graph.DOMAIN, **sizes)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, t.shape) for name, t in tensors.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, tensors["x"].shape)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(scan_graph.DOMAIN, 1)]
    model = helper.make_model(helper.make_graph([node], "scan", inputs, [output]), opset_imports=opsets, ir_version=10)
    scan_graph.expand(model)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {name: t.numpy() for name, t in tensors.items()})
    return case["x"].new_tensor(y).view(case["x"].shape)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 4), (2, 1, 7, 8), (1, 9, 1, 5), (2, 5, 7, 8), (1, 7, 7, 40), (3, 14, 14, 33), (1, 56, 56, 8)],
    ids=str,
)
def test_the_graph_matches_the_reference(shape):
    case = cross_scan_case(*shape)
    assert relative_error(run_graph(case), reference.cross_scan(**case)) < 1e-5


@pytest.mark.parametrize("step", [-20.0, 20.0, 100.0])
def test_extreme_steps(step):
    case = cross_scan_case(h=14, w=14)
    case["dt_bias"].fill_(step)
    y = run_graph(case)
    assert np.isfinite(y.numpy()).all()
    assert relative_error(y, reference.cross_scan(**case)) < 1e-5
