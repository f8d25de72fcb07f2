"""What stands between our networks and `torch.compile`."""

from __future__ import annotations


def mend_inductor() -> None:
    """Let inductor try another way where loops do not fit into each other.

    That is what its exception `CantSplit` asks for. PyTorch 2.11 raises it without the two arguments which it demands,
    and so ends in a TypeError (pytorch/pytorch#178676), with ours at batch 1. The arguments only serve the message.
    """
    from torch._inductor.codegen.simd import CantSplit

    CantSplit.__init__.__defaults__ = (None, None)
