"""Exported files: standard, whole, checked, and run without torch."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import medmamba
from medmamba.bundle import Bundle
from medmamba.cli import main
from medmamba.data import open_data
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.settings import Reading
from medmamba.errors import FailedError, InputError
from medmamba.export import check, export, run
from medmamba.export.check import extremes, probes
from medmamba.predictor import onnx_file
from medmamba.predictor.onnx_file import KEY, record_of
from medmamba.tasks import Task

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "export.md").read_text()

BUNDLE = Bundle(  # odd maps, 9 x 12 and 5 x 6
    model="medmamba_nano",
    model_args={"depths": [1, 1], "widths": [16, 32]},
    task=Task.MULTICLASS,
    classes=("zebra", "ant", "bee"),
    preprocessing=Preprocessing(height=35, width=46, reading=Reading("lung", "middle", 10**6)),
    provenance={"command": "medmamba train /home/somebody/photos", "config": {"init": "/home/x"}, "seed": 3},
)


def save(folder, bundle=BUNDLE):
    """With weights as after training: answers far from even, and scans that matter."""
    torch.manual_seed(0)
    model = bundle.build_model()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.startswith("head"):
                tensor.mul_(40)
            elif name.endswith(("x_proj_weight", "dt_weight")):
                tensor.mul_(10)
            elif name.endswith(("A_log", "dt_bias")):
                tensor.add_(torch.randn_like(tensor))
    bundle.save(folder, model.state_dict())
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="module")
def exported(run_folder):
    path, found = export(run_folder, images=6)
    assert found.passed
    return path


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for i, file in enumerate(files):
        size = (50, 40, 3) if i % 2 else (40, 50)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(file)
    return files


def all_nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_nodes(attribute.g)


def test_f022_standard_operators_in_one_file(exported):
    model = onnx.load(exported, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in all_nodes(model.graph)} <= {"", "ai.onnx"}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert not model.functions
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    (pixels,), (probabilities,) = model.graph.input, model.graph.output
    assert (pixels.name, pixels.type.tensor_type.elem_type) == ("pixels", onnx.TensorProto.UINT8)
    sizes = [dim.dim_value or dim.dim_param for dim in pixels.type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, 35, 46]
    assert probabilities.name == "probabilities"
    scans = [node for node in all_nodes(model.graph) if node.op_type == "Scan"]
    assert len(scans) == 2  # one a block
    norms = [node for node in all_nodes(model.graph) if node.op_type == "BatchNormalization"]
    assert len(norms) == 2  # those before a convolution, which cannot be folded
    content = exported.read_bytes()
    assert not any(path in content for path in (b"/home/", b"site-packages", str(Path(__file__).parents[2]).encode()))


def test_f022_it_answers_as_the_network_does(run_folder, exported):
    network, file = (medmamba.load(path, device="cpu") for path in (run_folder, exported))
    pixels = probes(BUNDLE.preprocessing, open_data("phantoms:20").split("all"), 20)
    expected = network.probabilities(pixels)
    assert np.ptp(expected, axis=0).max() > 0.2  # they are not all one answer
    for batch in (1, 2, 7, 32):
        parts = [file.probabilities(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


def test_it_says_what_it_is(exported):
    record = json.loads(record_of(exported).read_text())
    metadata = json.loads(onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map[KEY])
    for about in (record, metadata):
        assert about["bundle"]["classes"] == ["zebra", "ant", "bee"]
        assert about["bundle"]["preprocessing"]["height"] == 35
        assert about["bundle"]["preprocessing"]["reading"] == {"window": "lung", "frame": "middle", "max_pixels": 10**6}
        assert about["bundle"]["provenance"] == {"seed": 3}  # without the command, which names paths
        assert about["opset"] == 18
        assert about["input"] == {"name": "pixels", "type": "uint8", "shape": ["batch", 3, 35, 46]}
        assert about["complexity"]["parameters"] > 0
        assert "not a medical device" in about["notice"]
    found = record["check"]
    assert found["passed"]
    assert found["batches"] == [1, 2, 7]
    assert found["images"] == 6 + 5
    assert 0 < found["largest_difference"] < 1e-5


def test_predict_and_evaluate_need_no_torch(exported, run_folder, pictures, tmp_path):
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    for file in (exported, record_of(exported)):
        shutil.copy(file, alone)
    for i in range(12):
        folder = tmp_path / "set" / BUNDLE.classes[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures[i % 4], folder / f"{i}.png")
    command = (
        "import sys; from medmamba.cli import main; "
        f"code = main(['predict', {str(alone / exported.name)!r}, *{list(map(str, pictures))!r}]); "
        f"code += main(['evaluate', {str(alone / exported.name)!r}, {str(tmp_path / 'set')!r}, '--split', 'all']); "
        "unwanted = {'torch', 'timm', 'numba', 'onnx', 'medmamba.network', 'medmamba.ops'} & set(sys.modules); "
        "print(sorted(unwanted), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"
    rows = list(csv.DictReader(io.StringIO(done.stdout[: done.stdout.index("\nset, split")])))[:4]
    for row, expected in zip(rows, medmamba.load(run_folder, device="cpu").predict(pictures), strict=True):
        assert row["label"] == expected.label
        for name in BUNDLE.classes:
            assert float(row[name]) == pytest.approx(expected.probabilities[name], abs=1e-5)
    report = json.loads((alone / "evaluation-model-all" / "metrics.json").read_text())
    assert report["n"] == 12
    assert report["made"]["backend"] == "onnxruntime"
    assert report["model"]["parameters"] > 0


def test_the_script_of_the_documents_gives_the_same(exported, pictures):
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if "sys.argv" in block)
    assert len(code.strip().splitlines()) <= 14
    assert "medmamba" not in code.replace('["medmamba"]', "")
    command = [sys.executable, "-c", code, str(exported), *map(str, pictures)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for line, answer in zip(lines, medmamba.load(exported).predict(pictures), strict=True):
        for name, probability in answer.probabilities.items():
            assert float(re.search(rf"'{name}': ([\d.e-]+)", line)[1]) == pytest.approx(probability, abs=1e-6)


def flipped(content, tensor, byte):
    """With all bits of a byte of a weight turned round; `byte` counts from the weight's beginning."""
    at = content.index(tensor.raw_data)
    return content[: at + byte] + bytes([content[at + byte] ^ 0xFF]) + content[at + byte + 1 :]


def weights(path, least=1000):
    found = [t for t in onnx.load(path).graph.initializer if len(t.raw_data) >= least]
    assert len(found) > 5
    return found


def test_any_flipped_byte_of_a_weight_is_caught_by_the_record(exported, tmp_path, pictures, capsys):
    content, rng = exported.read_bytes(), np.random.default_rng(0)
    shutil.copy(record_of(exported), tmp_path / "model.onnx.json")
    for tensor in weights(exported):
        (tmp_path / "model.onnx").write_bytes(flipped(content, tensor, int(rng.integers(len(tensor.raw_data)))))
        with pytest.raises(InputError, match=r"is not the file of which model\.onnx\.json tells"):
            medmamba.load(tmp_path / "model.onnx")
    assert main(["predict", str(tmp_path / "model.onnx"), str(pictures[0])]) == 2
    assert "copy both again or export again" in capsys.readouterr().err


def test_a_flipped_byte_is_caught_by_the_comparison_where_answers_depend_on_it(exported, run_folder):
    """What the record cannot see: weights that were wrong when the file was made."""
    network = medmamba.load(run_folder, device="cpu")
    pixels = np.stack(extremes(BUNDLE.preprocessing))
    content, passed = exported.read_bytes(), {}
    for tensor in weights(exported):
        values = np.frombuffer(tensor.raw_data, np.float32)
        byte = 4 * int(np.abs(values).argmax()) + 3  # of the largest weight, the byte with sign and exponent
        session = onnx_file.open_session(flipped(content, tensor, byte), "a damaged file")
        answer = onnx_file.OnnxClassifier(BUNDLE, session, None).probabilities
        found = check.compare(BUNDLE, network.probabilities, answer, pixels, source="", batches=(2,))
        passed[tensor.name] = found.passed
    assert not any(wrong for name, wrong in passed.items() if name.startswith("network."))  # convolutions
    assert sum(passed.values()) <= len(passed) // 3  # the rest: scans that these answers hardly depend on


def test_a_file_that_came_out_damaged_is_not_kept(run_folder, exported, tmp_path, monkeypatch):
    tensor, write = weights(exported)[0], run.write_atomically
    monkeypatch.setattr(run, "write_atomically", lambda path, content: write(path, flipped(content, tensor, 5)))
    with pytest.raises(FailedError, match="is not the one that was written"):
        export(run_folder, out=tmp_path / "new.onnx", images=1)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_nothing_is_named_as_it_was_given(run_folder, tmp_path, monkeypatch):
    def full(path, content):
        raise FailedError(f"{path} could not be written: the disk is full")

    monkeypatch.setattr(run, "write_atomically", full)
    with pytest.raises(FailedError, match=f"^{re.escape(str(tmp_path / 'new.onnx'))} could not be written"):
        export(run_folder, out=tmp_path / "new.onnx", images=1)

    def refuse(**_):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(run.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(InputError, match=r"nothing can be written to .*new\.onnx \(No such file or directory\)"):
        export(run_folder, out=tmp_path / "new.onnx", images=1)
    assert list(tmp_path.iterdir()) == []


def test_the_engine_is_told_to_send_nothing(exported, monkeypatch):
    """It looks up its maker's host as soon as it is imported, unless this is set before."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    medmamba.load(exported)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_wrong_graph_is_not_kept_and_the_old_file_stays(run_folder, exported, monkeypatch, capsys):
    from medmamba.export import scan_graph

    before = exported.read_bytes(), record_of(exported).read_bytes()
    monkeypatch.setattr(scan_graph, "_softplus", lambda call, v: call("Exp", v))
    assert main(["export", str(run_folder), "--images", "1"]) == 1
    error = capsys.readouterr().err
    assert "does not answer as the network does" in error
    assert "0.0001 is allowed" in error
    assert (exported.read_bytes(), record_of(exported).read_bytes()) == before
    assert {path.suffix for path in run_folder.iterdir()} <= {".onnx", ".json", ".md", ".safetensors", ".pt2"}


@pytest.mark.parametrize(
    ("scores", "passed"),
    [
        ([[0.5 + 9e-5, 0.5 - 9e-5]], True),
        ([[0.5 + 2e-4, 0.5 - 2e-4]], False),
        ([[np.nan, 0.5]], False),
        ([[0.5 - 1e-5, 0.5 + 1e-5]], False),  # within the tolerance, but the other decision
    ],
)
def test_what_passes(scores, passed):
    bundle = replace(BUNDLE, classes=("a", "b"))
    pixels = np.zeros((1, 3, 35, 46), np.uint8)
    found = check.compare(
        bundle, lambda _: np.array([[0.5 + 1e-9, 0.5]]), lambda _: np.array(scores), pixels, source=""
    )
    assert found.passed is passed
    json.dumps(found.to_dict(), allow_nan=False)


def test_pt2_answers_as_the_network_does(run_folder, tmp_path):
    path, found = export(run_folder, format="pt2", out=tmp_path / "model.pt2", images=3)
    assert found.passed
    extra = {f"{KEY}.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    with zipfile.ZipFile(path) as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert not any(machine in text for machine in (b"site-packages", str(Path(__file__).parents[2]).encode()))
    assert json.loads(extra[f"{KEY}.json"])["bundle"]["classes"] == ["zebra", "ant", "bee"]
    pixels = np.stack(extremes(BUNDLE.preprocessing))
    expected = medmamba.load(run_folder, device="cpu").probabilities(pixels)
    np.testing.assert_allclose(module(torch.from_numpy(pixels)).numpy(force=True), expected, atol=1e-6)


@pytest.mark.parametrize(("task", "channels"), [(Task.MULTILABEL, 1), (Task.BINARY, 3)])
def test_models_of_timm_and_other_tasks(task, channels, tmp_path):
    classes = ("a", "b") if task is Task.BINARY else ("a", "b", "c")
    shape = Preprocessing(32, 32, channels=channels)
    folder = save(tmp_path / "run", Bundle("test_resnet", task, classes, shape, threshold=0.3))
    path, found = export(folder, images=2)
    assert found.passed
    network, file = (medmamba.load(which, device="cpu") for which in (folder, path))
    pixels = np.stack(extremes(shape))
    np.testing.assert_allclose(file.probabilities(pixels), network.probabilities(pixels), atol=1e-5)
    labels = [[answer.label for answer in each._answer([("x", Path("x"))], [pixels[3]])] for each in (network, file)]
    assert labels[0] == labels[1]


def test_a_file_that_is_none_of_ours_is_refused(tmp_path, exported, caplog):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InputError, match="cannot be opened"):
        medmamba.load(tmp_path / "text.onnx")
    with pytest.raises(InputError, match="there is no file"):
        medmamba.load(tmp_path / "gone.onnx")
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(InputError, match="was not written by medmamba export"):
        medmamba.load(tmp_path / "foreign.onnx")
    assert "foreign.onnx lies without its record" in caplog.text
    model = onnx.load(exported)
    onnx.save(model, tmp_path / "apart.onnx", save_as_external_data=True, location="weights.bin", size_threshold=100)
    assert (tmp_path / "weights.bin").stat().st_size > 1000
    with pytest.raises(InputError, match="cannot be opened"):  # it could name any file of this machine
        medmamba.load(tmp_path / "apart.onnx")
    (tmp_path / "text.onnx.json").write_text("{}")
    with pytest.raises(InputError, match=r"text\.onnx\.json is damaged"):
        medmamba.load(tmp_path / "text.onnx")
    with pytest.raises(InputError, match="an exported file runs on the CPU"):
        medmamba.load(exported, device="cuda")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "onxn"], "did you mean 'onnx'?"),
        (["--out", "model.bin"], "does not end in .onnx"),
        (["--out", "nowhere/model.onnx"], "there is no folder nowhere"),
        (["--images", "0"], "give 1 or more"),
        (["--data", "nothing-there"], "nothing-there"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_done(
    arguments, words, run_folder, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run_folder.iterdir()}
    assert main(["export", str(run_folder), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in run_folder.iterdir()} == before


def test_images_that_have_gone_are_told_with_a_way_out(tmp_path):
    folder = save(tmp_path / "run")
    (folder / "splits.csv").write_text("file,label,split\n/gone/a.png,ant,val\n/gone/b.png,bee,train\n")
    with pytest.raises(InputError, match="--data phantoms for synthetic ones"):
        export(folder)
    assert check_of(export(folder, data="phantoms:20", images=2)).images == 7


def check_of(made):
    path, found = made
    assert json.loads(record_of(path).read_text())["check"] == found.to_dict()
    return found


def test_what_an_engine_cannot_run_is_not_kept(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run.onnx_file.OnnxClassifier, "probabilities", lambda self, pixels: 1 / 0)
    with pytest.raises(FailedError, match="cannot be run, and was not kept: ZeroDivisionError"):
        export(run_folder, out=tmp_path / "new.onnx", images=1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_before_anything_is_done(run_folder, exported, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(InputError, match=r"needs onnxscript, not installed: pip install 'medmamba\[onnx\]'"):
        export(run_folder)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"run by onnxruntime: pip install 'medmamba\[onnx\]'"):
        medmamba.load(exported)


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 75])
def test_200_real_images_on_trained_weights(size, data_folder, tmp_path):
    """The issue's own words: batches 1, 2, 7, 32, 1e-4, the same decision."""
    shape = ["--image-size", str(size), str(size), "--epochs", "3"]
    arguments = ["train", str(data_folder / "busi256"), "--out", str(tmp_path / "run"), "--model", "medmamba_nano"]
    assert main([*arguments, "--recipe", "small", *shape]) == 0
    path, _ = export(tmp_path / "run", data=data_folder / "busi256")
    network, file = (medmamba.load(which, device="cpu") for which in (tmp_path / "run", path))
    images = open_data(data_folder / "busi256", classes=network.classes).split("all")
    pixels = probes(network.bundle.preprocessing, images, 200)
    assert len(pixels) == 205
    found = check.compare(
        network.bundle, network.probabilities, file.probabilities, pixels, source="", batches=(1, 2, 7, 32)
    )
    assert found.passed, found
