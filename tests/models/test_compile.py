"""The network compiles without a graph break and exports as one graph."""

import re
import shutil

import pytest
import timm
import torch

from medmamba.models import MedMamba  # registers our names, too
from medmamba.network import mend_inductor


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return timm.create_model("medmamba_tiny", num_classes=3).eval()


@pytest.fixture(scope="module")
def small():
    """Two stages, for what takes long to trace."""
    torch.manual_seed(0)
    return MedMamba(num_classes=3, depths=(1, 1), widths=(16, 32)).eval()


def test_compiles_as_one_graph(tiny):
    image = torch.randn(2, 3, 64, 64)
    compiled = torch.compile(tiny, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), tiny(image), rtol=1e-4, atol=1e-4)


def test_compiled_gradients(small):
    image = torch.randn(2, 3, 32, 32)
    compiled = torch.compile(small, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(small(image).square().sum(), list(small.parameters()))
    actual = torch.autograd.grad(compiled(image).square().sum(), list(small.parameters()))
    for one, two in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_exports_as_one_graph(tiny):
    image = torch.randn(1, 3, 64, 64)
    program = torch.export.export(tiny, (image,))
    targets = [str(node.target) for node in program.graph.nodes]
    assert targets.count("medmamba.cross_scan.default") == 10  # one a block
    torch.testing.assert_close(program.module()(image), tiny(image))


def test_the_operator_decomposes_into_standard_ones(small):
    """What an exporter that does not know the operator needs."""
    from medmamba.ops import chunked, sequences

    image = torch.randn(1, 3, 64, 64)
    program = torch.export.export(small, (image,))
    table = torch.export.default_decompositions()

    def scan(x, proj, *parameters):
        return sequences.cross_scan(chunked, x.unflatten(1, proj.shape[1:3]), proj, *parameters[:4]).flatten(1, 2)

    table[torch.ops.medmamba.cross_scan.default] = scan
    plain = program.run_decompositions(table)
    assert not any("medmamba" in str(node.target) for node in plain.graph.nodes)
    torch.testing.assert_close(plain.module()(image), small(image), rtol=1e-4, atol=1e-5)


def test_inductor_may_say_that_it_cannot_split():
    """As PyTorch 2.11 does it (pytorch/pytorch#178676)."""
    from torch._inductor.codegen.simd import CantSplit

    mend_inductor()
    with pytest.raises(CantSplit):
        raise CantSplit


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler on the CPU")
def test_f025_inductor():
    nano = timm.create_model("medmamba_nano", num_classes=3).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        compiled = torch.compile(nano, fullgraph=True)
        torch.testing.assert_close(compiled(image), nano(image), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler on the CPU")
def test_maps_are_not_laid_out_anew_around_the_operators(small):
    """Inductor takes a map (b, h, w, c) for (b, c, h, w), and orders it badly, wherever it has four dimensions."""
    from torch._inductor.utils import run_and_get_code

    image = torch.randn(2, 3, 48, 40)
    compiled = torch.compile(small.train(), dynamic=False)
    _, codes = run_and_get_code(lambda: compiled(image).sum().backward())
    made = re.findall(r"empty_strided_cpu\(\((2, 12, 10|2, 6, 5), (\d+)\), \((\d+), (\d+), ", "\n".join(codes))
    several = [(shape, channels) for shape, channels, _, row in made if row == "1" and int(channels) > 1]
    assert len(made) > len(several)
    assert len(several) <= 1  # the patch embedding's own
