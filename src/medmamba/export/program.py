"""A network as a `torch.export` program, and that as bytes of a file."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from medmamba.errors import FailedError, InputError, one_line
from medmamba.predictor.onnx_file import INPUT, KEY, OUTPUT

OPSET = 18


def trace(network: nn.Module, example: Tensor, name: str) -> torch.export.ExportedProgram:
    """A program for any batch of what `example` is a batch of two of.

    Raises:
        FailedError: The network does what a graph cannot hold; the message names it by `name`.
    """
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(network.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as reason:  # tracing runs all of a foreign network; whatever it raises, there is no graph
        raise FailedError(f"{name} cannot be traced by torch.export: {one_line(reason)}") from reason


def as_pt2(program: torch.export.ExportedProgram, about: dict[str, Any]) -> bytes:
    """What `torch.export.load` reads. Our scan stays one operator, so `import medmamba.ops` must come before."""
    file = io.BytesIO()
    for node in program.graph.nodes:  # where in which file of this machine each operator was called
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node"):
            node.meta.pop(key, None)
    with _quiet():
        torch.export.save(program, file, extra_files={f"{KEY}.json": json.dumps(about, allow_nan=False)})
    return file.getvalue()


def require_onnx() -> None:
    """Raise `InputError` if a package is missing that writes, checks or runs ONNX."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX export needs {', '.join(missing)}, not installed: pip install 'medmamba[onnx]'")


def as_onnx(program: torch.export.ExportedProgram, about: dict[str, Any]) -> bytes:
    """One ONNX file of standard operators, with `about` in its metadata.

    Raises:
        InputError: The packages for it are not installed.
        FailedError: The network holds an operator that ONNX has no words for, or the file is not valid.
    """
    require_onnx()
    import onnx

    from medmamba.export import scan_graph

    try:
        with torch.no_grad(), _quiet():
            program = program.run_decompositions({torch.ops.medmamba.cross_scan.default: scan_graph.mark})
            exported = torch.onnx.export(
                program,
                dynamo=True,
                external_data=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
        assert exported is not None
        model = exported.model_proto
        scan_graph.expand(model)
        _tidy(model)
        _name_batch(model)
        model.metadata_props.add(key=KEY, value=json.dumps(about, ensure_ascii=False, allow_nan=False))
        onnx.checker.check_model(model, full_check=True)
    except Exception as reason:  # the exporter has many kinds of error, none of which the caller can mend
        raise FailedError(f"the network cannot be written as ONNX: {one_line(reason)}") from reason
    content: bytes = model.SerializeToString()
    return content


def _tidy(model: Any) -> None:
    """Leave out what the exporter notes of each node for its authors: names of files, stack traces."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]


def _name_batch(model: Any) -> None:
    """Call the one free size by its name, wherever the exporter wrote its own symbol for it."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if not symbol:
        raise ValueError("the network takes batches of one size alone")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters print and warn about: their own plans, and packages they could also use."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch", "onnxscript", "onnx_ir")]
    before = [each.level for each in loggers]
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        for each in loggers:
            each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for each, level in zip(loggers, before, strict=True):
                each.setLevel(level)
