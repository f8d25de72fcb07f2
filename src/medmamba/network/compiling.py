"""Work that is compiled, or recorded in a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from medmamba.errors import one_line


def mend_inductor() -> None:
    """Let inductor try another way where loops do not fit into each other.

    That is what its exception `CantSplit` asks for. PyTorch 2.11 raises it without the two arguments which it demands,
    and so ends in a TypeError (pytorch/pytorch#178676), with ours at batch 1. The arguments only serve the message.
    """
    from torch._inductor.codegen.simd import CantSplit

    CantSplit.__init__.__defaults__ = (None, None)


def record(call: Callable[[], object], stream: torch.cuda.Stream) -> Callable[[], None]:
    """Record in a CUDA graph what a call does, and return what replays it.

    A graph works at fixed addresses. What replays it holds the call, so that the tensors it works on stay there.

    The call must have run on `stream` before, so that nothing is compiled or tuned while it is recorded, and so that
    autograd's accumulation nodes belong to the stream that is recorded (PyTorch, CUDA semantics, "CUDA Graphs").

    Raises:
        RuntimeError: The call does what a graph cannot hold; the message gives the first reason.
    """
    graph, first = torch.cuda.CUDAGraph(), None
    try:
        # a recording that fails may leave its stream current, so the outer block sees to the way back
        with torch.cuda.stream(stream), torch.cuda.graph(graph, stream=stream):
            try:
                call()
            except Exception as reason:
                first = one_line(reason)
                raise
    except Exception as reason:  # ending a broken recording raises once more, over the reason for it
        raise RuntimeError(f"not recorded in a CUDA graph: {first or one_line(reason)}") from reason
    return partial(_replay, graph, call)


def _replay(graph: torch.cuda.CUDAGraph, call: Callable[[], object]) -> None:
    graph.replay()
