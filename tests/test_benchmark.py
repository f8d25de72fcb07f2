"""The benchmark: what it measures, how it compares, what it does with what fails. No test asserts a time."""

import contextlib
import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from medmamba.benchmark import make_plan, networks, scan, summary, timing
from medmamba.benchmark.networks import Measurement, Subject
from medmamba.benchmark.timing import Spread, spread
from medmamba.cli import main
from medmamba.errors import InputError, one_line

SMALL = ["--image-size", "32", "32", "--batch-size", "2", "--seconds", "0.01", "--device", "cpu"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of one run over two models, as read back from the file."""
    path = tmp_path_factory.mktemp("benchmark") / "report.json"
    assert main(["benchmark", "--models", "resnet10t", "medmamba_nano", *SMALL, "--out", str(path)]) == 0

    def refuse(constant):
        raise AssertionError(f"{constant} in the report")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_report_has_every_figure_with_its_spread(report):
    rows = {(row["model"], row["quantity"]): row for row in report["measurements"]}
    quantities = ("inference", "latency", "training")  # the CPU has no count of memory
    assert set(rows) == {(model, name) for model in ("resnet10t", "medmamba_nano") for name in quantities}
    for (_, quantity), row in rows.items():
        assert row["mode"] == "eager"
        assert row["unit"] == ("ms" if quantity == "latency" else "img/s")
        assert row["batch"] == (1 if quantity == "latency" else 2)
        assert 0 < row["p10"] <= row["median"] <= row["p90"] <= row["p95"]
        assert row["repeats"] >= timing.FEWEST
        assert row["error"] is None
    for quantity in quantities:
        ours, first = rows["medmamba_nano", quantity], rows["resnet10t", quantity]
        assert first["ratio"] == 1
        assert ours["ratio"] == pytest.approx(ours["median"] / first["median"])
    assert [row["ratio"] for row in report["best"] if row["model"] == "resnet10t"] == [1, 1, 1]


def test_the_report_says_on_what_and_how(report):
    assert report["settings"] | {"models": ["resnet10t", "medmamba_nano"], "batch_size": 2} == report["settings"]
    assert report["settings"]["image_size"] == [32, 32]
    assert report["settings"]["precision"] == "32-true"
    assert report["complete"] is True
    assert report["scan_backend"] == {"forward": "cpu", "backward": "cpu"}
    assert report["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"python", "triton", "timm", "cuda", "cudnn", "medmamba"} <= set(report["versions"])
    assert report["commit"] is None or len(report["commit"]) == 40
    assert report["device"].startswith("cpu")
    assert report["card"] is None
    assert report["scans"] == []


def test_f024_the_table_has_p50_p95_images_a_second_batch_size_and_backend(capsys):
    assert main(["benchmark", "--models", "resnet10t", *SMALL]) == 0
    captured = capsys.readouterr()
    for words in ("latency p50 ms", "p95 ms", "inference img/s", "batch ", "32 x 32", "scan backend  cpu", "device "):
        assert words in captured.out
    assert "(1.00)" in captured.out
    assert "measuring resnet10t" in captured.err
    assert "measuring" not in captured.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--models", "resnet10t", "medmamba_tinny"], "did you mean 'medmamba_tiny'?"),
        (["--models", "resnet10t", "--modes", "eager", "graph"], "the mode graph needs a CUDA device"),
        (["--models", "resnet10t", "--modes", "compile+graph"], "the mode compile+graph needs a CUDA device"),
        (["--models", "resnet10t", "--modes", "compiled"], "did you mean 'compile'?"),
        (
            ["--models", "resnet10t", "--modes", "onnx", "--precision", "bf16-mixed"],
            "on cpu in bf16-mixed; leave it out",
        ),
        (["--models", "resnet10t", "--precision", "16-mixed"], "precision 16-mixed needs a CUDA device"),
        (["--models", "resnet10t", "--precision", "64"], "precision '64' is unknown"),
        (["--models", "resnet10t", "--batch-size", "1"], "the batch size 1 came"),
        (["--models", "resnet10t", "--image-size", "8", "8"], "both sides must be at least 16"),
        (["--models", "resnet10t", "--seconds", "nan"], "give a number above 0"),
        (["--models", "resnet10t", "--out", "nowhere/report.json"], "there is no folder nowhere"),
    ],
)
def test_a_request_that_cannot_be_met_is_code_2_and_nothing_is_measured(arguments, sentence, capsys, monkeypatch):
    monkeypatch.setattr(networks, "measure_model", lambda *_: pytest.fail("measured"))
    assert main(["benchmark", "--device", "cpu", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err.strip().splitlines()[-1]


def test_a_mode_that_fails_is_recorded_with_its_reason_and_the_others_go_on(capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no compiler was found\nand a second line")

    monkeypatch.setattr(torch, "compile", broken)
    assert main(["benchmark", "--models", "resnet10t", "--modes", "compile", "eager", *SMALL, "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["measurements"]
    failed = [row for row in rows if row["mode"] == "compile"]
    assert [row["error"] for row in failed] == ["RuntimeError: no compiler was found"] * 3
    assert [row["median"] for row in failed] == [None] * 3
    assert all(row["error"] is None and row["median"] > 0 for row in rows if row["mode"] == "eager")
    assert len(rows) == 6


def test_a_run_that_is_ended_early_keeps_the_models_that_were_finished(tmp_path, monkeypatch):
    def ended(name, *arguments):
        if name == "medmamba_nano":
            raise KeyboardInterrupt
        return measure(name, *arguments)

    measure = networks.measure_model
    monkeypatch.setattr(networks, "measure_model", ended)
    path = tmp_path / "report.json"
    with contextlib.suppress(KeyboardInterrupt):
        main(["benchmark", "--models", "resnet10t", "medmamba_nano", *SMALL, "--out", str(path)])
    report = json.loads(path.read_text())
    assert report["complete"] is False
    assert {row["model"] for row in report["measurements"]} == {"resnet10t"}
    assert all(row["median"] > 0 for row in report["measurements"])


def of(model, mode, quantity, value):
    return Measurement(model, mode, quantity, 2, None if value is None else Spread(value, value, value, value, 1))


GIVEN = [
    of("a", "eager", "inference", 100.0),
    of("a", "compile", "inference", 400.0),
    of("b", "eager", "inference", 150.0),
    replace(of("b", "compile", "inference", None), error="RuntimeError: x"),
    of("a", "eager", "memory", 8.0),
    of("a", "compile", "memory", 5.0),
    of("b", "eager", "memory", 6.0),
    replace(of("a", "eager", "latency", None), error="RuntimeError: y"),
    of("b", "eager", "latency", 3.0),
]


def test_ratios_compare_with_the_first_model_in_the_same_mode():
    ratios = [row["ratio"] for row in summary.with_ratios(GIVEN)]
    assert ratios == [1, 1, 1.5, None, 1, 1, 0.75, None, None]


def test_the_best_is_most_of_a_rate_and_least_of_memory_and_time():
    rows = {(row["model"], row["quantity"]): row for row in summary.best(GIVEN)}
    assert (rows["a", "inference"]["mode"], rows["a", "inference"]["ratio"]) == ("compile", 1)
    assert (rows["b", "inference"]["mode"], rows["b", "inference"]["ratio"]) == ("eager", 0.375)
    assert rows["b", "inference"]["ratio_to"] == {"eager": 1.5, "compile": 0.375}
    assert (rows["a", "memory"]["mode"], rows["b", "memory"]["ratio"]) == ("compile", 1.2)
    assert rows["b", "latency"]["ratio"] is None  # the first model has none
    assert ("a", "latency") not in rows


def test_spread_is_the_median_and_percentiles():
    assert spread([float(i) for i in range(101)]) == Spread(50, 10, 90, 95, 101)
    assert spread([7.0]) == Spread(7, 7, 7, 7, 1)


def test_repeats_fill_the_time_within_their_bounds(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))  # every look at it is a second later
    calls = []
    few = timing.measure(lambda: calls.append(1), torch.device("cpu"), seconds=2)
    assert len(few.times) == timing.FEWEST
    assert set(few.times) == {1000}
    assert len(calls) == timing.WARM_UP_CALLS + 1 + timing.FEWEST
    assert len(timing.measure(lambda: None, torch.device("cpu"), seconds=40).times) == 40
    assert few.peak_bytes is None


class Broken(nn.Module):
    """A network with one graph break."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, networks.CLASSES, 1)

    def forward(self, x):
        x = self.layer(x)
        torch._dynamo.graph_break()
        return x.mean((2, 3))


def test_graph_breaks_are_counted(monkeypatch):
    real = torch.compile  # with inductor it would need a C compiler
    monkeypatch.setattr(torch, "compile", lambda net, **options: real(net, backend="eager", **options))
    plan = make_plan(models=["x"], modes=["compile"], device="cpu", batch_size=2, image_size=(16, 16), seconds=0.01)
    subject = Subject(Broken().eval())
    blank = Measurement("x", "compile", "inference", 2, None)
    for _ in range(2):  # the second time nothing is left to compile
        (found,) = networks._run(blank, subject, plan)
        assert found.graph_breaks == 1
    (found,) = networks._run(replace(blank, mode="eager"), subject, plan)
    assert found.graph_breaks is None


def test_a_step_moves_the_weights_and_keeps_the_gradients_of_one_batch():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, networks.CLASSES))
    before = net[1].weight.detach().clone()
    plan = make_plan(models=["x"], device="cpu", batch_size=2, image_size=(16, 16))
    step = networks.training_step(net, net, plan, capturable=False)
    step()
    first = net[1].bias.grad.norm()
    assert not torch.equal(net[1].weight, before)
    step()
    assert net[1].bias.grad.norm() < 1.5 * first  # not added up


def test_images_are_noise_between_the_values_of_normalised_pixels():
    plan = make_plan(models=["x"], device="cpu", batch_size=4, image_size=(16, 24))
    images = networks._images(plan, 4)
    assert images.shape == (4, 3, 16, 24)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.min() >= -2
    assert images.max() <= 2
    assert images.std() > 0.5


def test_defaults_depend_on_the_device_and_op_alone_measures_no_model():
    assert make_plan(device="cpu").models == ("resnet18", "medmamba_nano")
    assert make_plan(device="cpu", op=True).models == ()
    assert make_plan(device="cpu", op=True, models=["resnet18"]).models == ("resnet18",)
    assert make_plan(device="cpu", models=["a", "b", "a"]).models == ("a", "b")
    with pytest.raises(InputError, match="no device"):
        make_plan(device="gpu")


def test_the_maps_are_those_of_tiny():
    assert [(m.h, m.w, m.d, m.r) for m in scan.maps(128, (224, 224))] == [
        (56, 56, 96, 3),
        (28, 28, 192, 6),
        (14, 14, 384, 12),
        (7, 7, 768, 24),
    ]
    assert [(m.h, m.w) for m in scan.maps(1, (52, 64))] == [(13, 16), (7, 8), (4, 4), (2, 2)]


def test_the_limit_is_the_larger_of_exponentials_and_bytes():
    card = scan.Card(multiprocessors=100, clock_ghz=1.0, clock_source="given", copy_gb_per_s=1000.0)
    case = scan.Map(2, 5, 5, 8, 3)
    forward = scan.limit(case, "forward", card, 2)
    updates = 2 * 25 * 8 * 16 * 4
    assert forward.exponentials_ms == pytest.approx(updates / (16 * 100 * 1e9) * 1e3)
    moved = 2 * 25 * (8 + 8 + 4 * (3 + 32)) * 2
    assert forward.bytes_ms == pytest.approx(moved / 1e12 * 1e3)
    assert forward.ms == max(forward.exponentials_ms, forward.bytes_ms)
    both = scan.limit(case, "forward+backward", card, 2)
    assert both.bytes_ms == pytest.approx(2 * forward.bytes_ms)
    assert both.exponentials_ms == pytest.approx(2 * forward.exponentials_ms)
    assert forward.by == "exponentials"
    assert scan.limit(case, "forward", replace(card, copy_gb_per_s=1.0), 2).by == "bytes"


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1_980_000, (1.98, "from torch")), (None, (scan.ASSUMED_CLOCK, "assumed, torch does not tell"))],
)
def test_an_assumed_clock_is_said_to_be_assumed(rate, expected):
    class Properties:
        pass

    if rate is not None:
        Properties.clock_rate = rate
    assert scan.clock_rate(Properties()) == expected


def test_op_times_every_backend_and_records_one_that_fails(capsys, monkeypatch):
    scan_of = scan.cross_scan

    def some(*tensors, backend):
        if backend == "chunked":
            raise RuntimeError("out of luck")
        return scan_of(*tensors, backend=backend)

    monkeypatch.setattr(scan, "cross_scan", some)
    assert main(["benchmark", "--op", *SMALL, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["measurements"] == []
    rows = report["scans"]
    backends = {name for name, row in scan.scans.BACKENDS.items() if row.devices is None or "cpu" in row.devices}
    assert len(rows) == 4 * len(backends) * 2
    assert rows[0]["map"] == {"b": 2, "h": 8, "w": 8, "d": 96, "r": 3}
    for row in rows:
        if row["backend"] == "chunked":
            assert (row["median"], row["error"]) == (None, "RuntimeError: out of luck")
        if row["backend"] == "cpu":
            assert row["median"] > 0
            assert row["error"] is None
        assert row["limit_ms"] is None  # the CPU's is not computed


def test_f024_figures_of_onnxruntime_beside_torch(capsys):
    small = ["--image-size", "32", "32", "--batch-size", "4", "--seconds", "0.05", "--device", "cpu"]
    arguments = ["benchmark", "--models", "test_resnet", "medmamba_nano", "--modes", "eager", "onnx", *small]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    medians = {(row["model"], row["mode"], row["quantity"]): row["median"] for row in report["measurements"]}
    for model in ("test_resnet", "medmamba_nano"):
        assert {quantity for name, mode, quantity in medians if (name, mode) == (model, "onnx")} == {
            "inference",
            "latency",
        }
        assert all(median > 0 for median in medians.values())
        assert (model, "eager", "training") in medians
    rows = summary.models_table(report)
    assert [row[1] for row in rows[1:]] == ["eager", "onnx"] * 2


def test_the_inputs_in_turn_are_twice_the_cache_and_not_many_more(monkeypatch):
    """Parameters fill the cache too: of small maps they are most of what is read."""

    class Properties:
        L2_cache_size = 1 << 20

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties())
    tensors = [torch.empty(n) for n in (1000, 2000, 60_000, 500)]  # x, proj, a parameter; the gradient is not counted
    turns = scan._sets(tensors, torch.device("cuda"))
    assert 2 * Properties.L2_cache_size <= turns * 4 * 63_000 < 3 * Properties.L2_cache_size
    assert scan._sets(tensors, torch.device("cpu")) == 1


def test_the_table_of_scans_shows_the_limit_and_how_often_it_fits():
    case = scan.Map(2, 8, 8, 96, 3)
    time = scan.ScanTime(case, "cpu", "forward", Spread(3, 3, 3, 3, 5), scan.Limit(0.5, 1.5))
    row = summary.scan_row(time)
    assert (row["limit_ms"], row["limited_by"], row["times_limit"]) == (1.5, "bytes", 2)
    table = summary.scans_table({"scans": [row]})
    assert table[1] == ("(2, 8, 8, 96)", "cpu", "forward", "3.000", "3.000", "1.500", "2.0", "bytes")


def test_one_line_of_an_error():
    assert one_line(ValueError("\n  first \nsecond")) == "ValueError: first"
    assert one_line(MemoryError()) == "MemoryError"


@pytest.mark.gpu
def test_gpu_a_recorded_step_does_what_the_step_does():
    """The weights after five replays are those after five steps, to rounding."""
    weights = []
    for graph in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, networks.CLASSES)).cuda()
        plan = make_plan(models=["x"], device="cuda", batch_size=4, image_size=(16, 16), precision="32-true")
        step = networks.training_step(net, net, plan, capturable=True)
        stream = torch.cuda.Stream()
        timing._warm_up(step, plan.device, 0, stream)  # three steps, in both
        replay = timing.record(step, stream) if graph else step
        for _ in range(5):
            replay()
        torch.cuda.synchronize()
        weights.append(net[1].weight.detach().clone())
    assert (weights[0] - weights[1]).norm() < 1e-5 * weights[0].norm()
    assert math.isfinite(float(weights[0].norm()))


@pytest.mark.gpu
def test_gpu_what_a_graph_works_on_lives_as_long_as_its_replay():
    def make(result):
        ones, stream = torch.ones(1 << 20, device="cuda"), torch.cuda.Stream()
        timing._warm_up(call := lambda: result.copy_(ones), torch.device("cuda"), 0, stream)
        return timing.record(call, stream)

    replay = make(result := torch.zeros(1 << 20, device="cuda"))
    others = [torch.full((1 << 20,), 7.0, device="cuda") for _ in range(8)]  # take what is free
    result.zero_()
    replay()
    assert torch.equal(result, torch.ones_like(result))
    assert all((other == 7).all() for other in others)


@pytest.mark.gpu
def test_gpu_what_a_graph_cannot_hold_is_a_reason_and_the_device_goes_on():
    ones = torch.ones(8, device="cuda")
    stream, before = torch.cuda.Stream(), torch.cuda.current_stream()
    with pytest.raises(RuntimeError, match="not recorded in a CUDA graph"):
        timing.record(lambda: ones.sum().item(), stream)
    assert torch.cuda.current_stream() == before
    found = timing.measure(lambda: ones * 2, torch.device("cuda"), seconds=0.01, graph=True)
    assert len(found.times) >= timing.FEWEST
    torch.rand(4, device="cuda")  # the generator is not left as if a recording went on


def gpu_report(capsys, modes, *arguments):
    small = ["--models", "resnet10t", "medmamba_nano", "--image-size", "64", "64", "--batch-size", "8"]
    rest = ["--modes", *modes, *arguments, "--seconds", "0.05", "--device", "cuda", "--json"]
    code = main(["benchmark", *small, *rest])
    report = json.loads(capsys.readouterr().out)
    assert code == 0, summary.failures(report)
    assert len(report["measurements"]) == 2 * len(modes) * 4  # models, modes, quantities
    assert all(row["median"] > 0 for row in report["measurements"])
    return report


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_gpu_both_models_have_every_figure(precision, capsys):
    report = gpu_report(capsys, ["eager", "graph"], "--precision", precision)
    memory = {row["mode"]: row["median"] for row in report["measurements"] if row["quantity"] == "memory"}
    assert 0.5 < memory["graph"] / memory["eager"] < 2  # a replay allocates nothing, its recording counts


@pytest.mark.gpu
def test_gpu_every_scan_has_a_time_and_none_is_faster_than_it_can_be(capsys):
    small = ["--image-size", "64", "64", "--batch-size", "2", "--seconds", "0.05"]
    assert main(["benchmark", "--op", *small, "--device", "cuda", "--json"]) == 0
    scans = json.loads(capsys.readouterr().out)["scans"]
    assert {row["backend"] for row in scans} == {"cuda", "triton", "chunked"}
    assert all(row["times_limit"] > 0.5 for row in scans)


@pytest.mark.gpu
@pytest.mark.slow
def test_gpu_both_models_have_every_figure_when_compiled(capsys):
    gpu_report(capsys, ["compile+graph"])
