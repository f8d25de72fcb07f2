"""Files that mean harm, or that lie: made from a seed, for `hostile_files.py` and the tests.

Each maker writes into a folder what somebody might send, and each reader is the one of the product that would meet it.
Whatever a pickle among them would run makes a folder, MARKER, by whose absence it is seen that nothing was run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmamba.bundle import Bundle, load_model
from medmamba.data import open_data, read_image
from medmamba.data.preprocessing import Preprocessing
from medmamba.decisions import Conformal, Decisions
from medmamba.errors import InputError
from medmamba.json_file import parse_json, write_json
from medmamba.manifest import sealed
from medmamba.models.official import read_checkpoint, recognise
from medmamba.predictor import network
from medmamba.tasks import Task
from medmamba.training.checkpoint import RESUME, load_checkpoint
from medmamba.training.recipe import load_recipe

MARKER = "RUN"  # what code in a file would make
PARTS = ("train", "val", "test")

Read = Callable[[Path], Any]


@dataclass(frozen=True)
class Kind:
    """Files of one sort.

    Attributes:
        name: In words.
        tries: How many are made.
        write: Makes number n in a folder, in which `bundle` is a good bundle.
        read: What the product does with it. It gives logits, or nothing.
        harmless: Whether it may also be read; logits must then be those of the good bundle.
    """

    name: str
    tries: int
    write: Callable[[Path, int], None]
    read: Read
    harmless: bool = False


def good_bundle(folder: Path) -> torch.Tensor:
    """A small bundle with everything that one may have; the logits of its network for a fixed picture."""
    decisions = Decisions(1.25, Conformal(0.1, (0.5, 0.25), by_class=True), 0.05)
    arguments = {"depths": [1, 1], "widths": [8, 16]}
    origin = {"seed": 0, "data": {"name": "none", "counts": {"train": {"no": 3, "yes": 4}}}, "epochs": 3}
    bundle = Bundle(
        "medmamba_nano",
        Task.BINARY,
        ("no", "yes"),
        Preprocessing(32, 32),
        arguments,
        decisions=Decisions(),
        provenance=origin,
    )
    torch.manual_seed(0)
    bundle.save(folder, bundle.build_model().state_dict())
    scope = _scope()
    Bundle(**{**vars(bundle), "decisions": decisions}).save_description(folder, scope=scope)
    return logits(folder)


def _scope() -> bytes:
    from medmamba.calibration.scope import fit_kind, with_limits
    from medmamba.predictor.scope import looks_of

    generator = np.random.default_rng(0)
    features, looks = generator.normal(size=(40, 16)), looks_of(generator.integers(0, 256, (40, 3, 8, 8), np.uint8))
    return with_limits(fit_kind(features, np.arange(40) % 2, looks), features, looks, 0.1).pack()


def logits(folder: Path) -> torch.Tensor:
    """What the network of a bundle answers to a fixed picture."""
    with torch.inference_mode():
        answer: torch.Tensor = load_model(folder)(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32))
    return answer


def mutate(content: bytes, seed: int) -> bytes:
    """One to four changes: bytes flipped, overwritten, cut out, doubled or added, digits made others, the end cut."""
    draw = np.random.default_rng(seed)
    changed = bytearray(content)
    for _ in range(int(draw.integers(1, 5))):
        at, size = int(draw.integers(0, len(changed) + 1)), int(draw.integers(1, 40))
        match int(draw.integers(0, 8)):
            case 0 if at < len(changed):
                changed[at] ^= 1 << int(draw.integers(0, 8))
            case 1:
                changed[at : at + size] = draw.bytes(size)
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size] * int(draw.integers(1, 200))
            case 4:
                changed[at:at] = b"9" * size
            case 5:
                digits = [place for place, byte in enumerate(changed[:8000]) if 48 <= byte <= 57]
                if digits:
                    changed[digits[int(draw.integers(0, len(digits)))]] = 48 + int(draw.integers(0, 10))
            case 6:
                changed[:8] = draw.bytes(8)
            case _:
                del changed[at:]
    return bytes(changed)


# pickles


class Payload:
    """What runs when it is unpickled: it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (str(self.folder / MARKER), 0o777, True)


def pickles(folder: Path) -> list[bytes]:
    """A payload in every wrapping that torch or numpy has read at some time."""
    payload = Payload(folder)
    state = {"patch_embed.proj.weight": torch.zeros(2), "epoch": payload}
    zipped, legacy, array, arrays = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(state, zipped)
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    objects = np.array([payload], dtype=object)
    np.save(array, objects, allow_pickle=True)
    np.savez(arrays, **{f"{part}_{what}": objects for part in PARTS for what in ("images", "labels")})
    plain = [pickle.dumps(state, protocol) for protocol in (0, 2, 5)]
    return [*plain, zipped.getvalue(), legacy.getvalue(), array.getvalue(), arrays.getvalue(), pickle.dumps(payload)]


def pickle_as(name: str) -> Callable[[Path, int], None]:
    """Number n: wrapping n under this name."""

    def write(folder: Path, number: int) -> None:
        found = pickles(folder)
        _replace(folder, name, found[number % len(found)])

    return write


# bundles


def _replace(folder: Path, name: str, content: bytes) -> None:
    """Put a file in a folder; one of a bundle with its digest, so that it comes as far as its reader."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if path.suffix == ".safetensors":
        about = path.with_name("bundle.json")
        entries = json.loads(about.read_text())
        entries["files"][path.name] = hashlib.sha256(content).hexdigest()
        write_json(about, sealed(entries))


def tensors_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, and a length before it that may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@cache
def headers(good: bytes) -> list[bytes]:
    """Files whose headers lie."""

    def entry(shape: list[int], start: int, end: int, kind: str = "F32") -> dict[str, Any]:
        return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}

    (size,) = struct.unpack("<Q", good[:8])
    there = json.loads(good[8 : 8 + size])
    first, *others = [name for name in there if name != "__metadata__"]
    same = {name: {**there[name], "data_offsets": there[first]["data_offsets"]} for name in (first, *others)}
    data = good[8 + size :]
    return [
        *(good[:end] for end in (0, 1, 7, 8, 9, 8 + size // 2, 8 + size, len(good) // 2, len(good) - 1)),
        *(tensors_of({}, b"", length) for length in (2**63, 2**63 - 1, 2**64 - 1, 2**62, 100_000_001, 10**6)),
        tensors_of(same, data),
        tensors_of({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, bytes(24)),
        tensors_of({"a": entry([4], 0, 16), "b": entry([4], 24, 40)}, bytes(40)),
        tensors_of({"a": entry([2**62, 4], 0, 16)}, bytes(16)),
        tensors_of({"a": entry([2**32, 2**32], 0, 0)}, b""),
        tensors_of({"a": entry([-1], 0, 4)}, bytes(4)),
        tensors_of({"a": entry([4], 16, 0)}, bytes(16)),
        tensors_of({"a": entry([4], 0, 2**63)}, bytes(16)),
        tensors_of({"a": entry([4], 0, 16, "OBJECT")}, bytes(16)),
        tensors_of({"a": entry([16], 0, 16, "F8_E4M3")}, bytes(16)),
        tensors_of({"a": entry([0] * 60, 0, 0)}, b""),
        tensors_of(
            b'{"a":' + json.dumps(entry([1], 0, 4)).encode() + b',"a":' + json.dumps(entry([1], 0, 4)).encode() + b"}",
            bytes(4),
        ),
        tensors_of(b"[" * 100_000, bytes(4)),
        tensors_of({f"t{number}": entry([0], 0, 0) for number in range(50_000)}),
        tensors_of({**there, "more": entry([0], len(data), len(data))}, data),
        tensors_of({**there, first: {**there[first], "shape": [1, *there[first]["shape"]]}}, data),
        good + b"more",
        good[: 8 + size] + struct.pack("<f", float("nan")) * (len(data) // 4),
        good[: 8 + size] + struct.pack("<f", float("inf")) * (len(data) // 4),
    ]


def header_of(name: str) -> Callable[[Path, int], None]:
    def write(folder: Path, number: int) -> None:
        found = headers((folder / name).read_bytes())
        _replace(folder, name, found[number % len(found)])

    return write


HARD = {"depths": [1, 1], "widths": [8, 16]}
DESCRIPTIONS: tuple[dict[str, Any] | bytes, ...] = (
    b'{"format": 3, "format": 3}',
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[" * 5_000_000,
    b"[" + b"{}," * 2_500_000 + b"{}]",
    b'{"' + b"a" * 9_000_000 + b'": 1}',
    b'{"threshold": ' + b"9" * 100_000 + b"}",
    b"\xff\xfe",
    b"\0" * 1000,
    b'{"threshold": NaN}',
    {"files": {"../../weights.safetensors": "0" * 64}},
    {"files": {"/etc/passwd": "0" * 64}},
    {"files": {"weights.safetensors": "../weights"}},
    {"files": {}},
    {"model": "hf-hub:somebody/something"},
    {"model": "local-dir:/etc"},
    {"model": "../../model"},
    {"model": "resnet18", "model_args": {"checkpoint_path": "evil.pth"}},
    {"model": "resnet18", "model_args": {"pretrained": True}},
    {"model": "resnet18", "model_args": {"pretrained_cfg": {"url": "http://127.0.0.1:9/x"}}},
    {"model": "resnet18", "model_args": {"act_layer": "os.system"}},
    {"model": "vit_tiny_patch16_224", "model_args": {"depth": 1_000_000}},
    {"model": "vit_tiny_patch16_224", "model_args": {"embed_dim": 1000, "depth": 1000}},
    {"model_args": {"depths": [10**7, 1], "widths": [8, 16]}},
    {"model_args": {"depths": [900, 900], "widths": [8, 16]}},
    {"model_args": {"depths": [1, 1], "widths": [10**6, 10**6]}},
    {"model_args": {"depths": [1] * 1000, "widths": [8] * 1000}},
    {"model_args": {**HARD, "state_size": 10**9}},
    {"model_args": {**HARD, "patch_size": 0}},
    {"model_args": {**HARD, "patch_size": -4}},
    {"model_args": {**HARD, "block": {}}},
    {"model_args": {**HARD, "drop_path_rate": "x"}},
    {"model_args": {**HARD, "device": "cuda:99"}},
    {"model_args": []},
    {"classes": ["a\x1b[2J", "b"]},
    {"classes": ["a", "a"]},
    {"classes": [[], {}]},
    {"classes": 3},
    {"positive": -1},
    {"positive": "1"},
    {"task": ["binary"]},
    {"threshold": [0.5] * 9},
    {"preprocessing": {"height": 32, "width": 32, "mean": "x"}},
    {"preprocessing": {"height": 32, "width": 32, "reading": {"window": "../x"}}},
    {"decisions": {"temperature": 0}},
    {"decisions": {"temperature": "1"}},
    {"decisions": {"conformal": {"error": 0.1, "quantiles": [2], "by_class": True}}},
    {"decisions": {"conformal": 3}},
    {"members": [{"model": "medmamba_nano", "model_args": {"depths": [1000], "widths": [8]}}] * 100, "model_args": {}},
    {"members": [{"model": "medmamba_nano"}, 3], "model_args": {}},
)


def description(folder: Path, number: int) -> None:
    """`bundle.json` with entries that nobody wrote, or that is no JSON."""
    path, wrong = folder / "bundle" / "bundle.json", DESCRIPTIONS[number % len(DESCRIPTIONS)]
    if isinstance(wrong, bytes):
        path.write_bytes(wrong)
    else:
        write_json(path, sealed(json.loads(path.read_text()) | wrong))


def mutated_bundle(folder: Path, number: int) -> None:
    """One file of a bundle mutated."""
    path = folder / "bundle" / ("bundle.json", "weights.safetensors", "scope.safetensors")[number % 3]
    path.write_bytes(mutate(path.read_bytes(), number))


def mutated_with_digest(folder: Path, number: int) -> None:
    """One file of a bundle mutated, and its digest with it, so that it comes as far as its reader."""
    name = f"bundle/{('bundle.json', 'weights.safetensors', 'scope.safetensors')[number % 3]}"
    content = mutate((folder / name).read_bytes(), number)
    if name.endswith(".json"):
        with contextlib.suppress(InputError, AttributeError):  # what is no object has no digest
            content = json.dumps(sealed(parse_json(content))).encode()
    _replace(folder, name, content)


def open_both(folder: Path) -> None:
    """As `open_bundle`, of a bundle that may answer anything, since nothing tells that it was another one."""
    open_bundle(folder)


def open_bundle(folder: Path) -> torch.Tensor:
    """Both ways in which a bundle is opened: with all that `predict` needs, and its network alone."""
    network.load(folder / "bundle", device="cpu")
    return logits(folder / "bundle")


# arrays, tables, recipes


def _npz(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", kind) as archive:
        warnings.simplefilter("ignore")  # of a name that stands twice
        for name, content in members.items():
            archive.writestr(name, content)


def _array(
    array: np.ndarray | None = None, *, shape: tuple[int, ...] = (), descr: str = "|u1", data: bytes = b""
) -> bytes:
    file = io.BytesIO()
    if array is not None:
        np.save(file, array, allow_pickle=False)
    else:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        file.write(data)
    return file.getvalue()


def archive(folder: Path, number: int) -> None:
    """A MedMNIST file with members that climb out, lie or explode."""
    images, labels = _array(np.zeros((6, 28, 28), np.uint8)), _array(np.arange(6, dtype=np.uint8).reshape(6, 1) % 2)
    good = {f"{part}_{what}.npy": each for part in PARTS for what, each in (("images", images), ("labels", labels))}
    path = folder / "set.npz"
    link = zipfile.ZipInfo("train_images.npy")
    link.external_attr = 0o120777 << 16
    cases: list[dict[str, bytes]] = [
        {**good, "train_labels.npy": _array(shape=(10**12, 1))},
        {**good, "train_labels.npy": _array(shape=(6, 10**9))},
        {**good, "train_labels.npy": _array(shape=(6, 1), descr="|V1000000000")},
        {**good, "train_labels.npy": _array(shape=(6, 1), descr="|O", data=pickle.dumps(Payload(folder)))},
        {**good, "train_images.npy": _array(shape=(6, 28, 28), descr="|O", data=pickle.dumps(Payload(folder)))},
        {**good, "train_images.npy": _array(shape=(10**6, 10**4, 10**4))},
        {**good, "train_images.npy": _array(shape=(6, -28, 28))},
        {**good, "train_images.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"{" * 60000},
        {**good, "train_images.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{}"},
        {name: each for name, each in good.items() if name != "test_images.npy"},
        {f"../{name}": each for name, each in good.items()},
        {f"/tmp/{name}": each for name, each in good.items()},
        {**good, "train_images.npy": pickle.dumps(Payload(folder))},
    ]
    if number % (len(cases) + 2) < len(cases):
        _npz(path, cases[number % (len(cases) + 2)])
    elif number % (len(cases) + 2) == len(cases):  # labels that are 200 MB of zeros, a thousandth of it packed
        bomb = _array(shape=(200_000_000, 1), data=bytes(200_000_000))
        _npz(path, {**good, "train_labels.npy": bomb}, zipfile.ZIP_DEFLATED)
    else:
        with zipfile.ZipFile(path, "w") as archive_file:
            archive_file.writestr(link, "/etc/passwd")
            for name, content in good.items():
                if name != "train_images.npy":
                    archive_file.writestr(name, content)


def open_archive(folder: Path) -> None:
    opened = open_data(folder / "set.npz")
    for part in PARTS:
        opened.split(part).read(0)


def climbing_archive(folder: Path, number: int) -> None:
    """A good MedMNIST file that also has members which would land elsewhere if anything unpacked them."""
    images, labels = _array(np.zeros((6, 28, 28), np.uint8)), _array(np.arange(6, dtype=np.uint8).reshape(6, 1) % 2)
    members = {f"{part}_{what}.npy": each for part in PARTS for what, each in (("images", images), ("labels", labels))}
    outside = ("../" * (1 + number) + MARKER, str(folder / MARKER), f"..\\{MARKER}")[number % 3]
    _npz(folder / "set.npz", {outside: b"x", **members, f"{outside}/x.npy": images})


TABLES = (
    *(
        f"file,label\n{path},a\ni/1.png,b\n"
        for path in ("../secret.png", "i/../../secret.png", "ABSOLUTE", "link.png", "way/secret.png")
    ),
    "file,label\n/etc/passwd,a\ni/1.png,b\n",
    "file,label\n\0,a\ni/1.png,b\n",
    "file,label\n" + "x" * 1_000_000 + ",a\n",
    'file,label\n"i/1.png,a\n' * 3,
    "file,label,label\ni/1.png,a,b\n",
    "file,label\ni/1.png,=cmd|' /C calc'!A0\x1b[2J\ni/2.png,b\n",
    "file,label\n" + "../" * 5000 + "etc/passwd,a\ni/1.png,b\n",
    ",,,,\n",
)


def table(folder: Path, number: int) -> None:
    """A table that leads elsewhere, or is none. `secret.png` lies beside its folder."""
    from PIL import Image

    home = folder / "given"
    (home / "i").mkdir(parents=True)
    for place in (folder / "secret.png", home / "i" / "1.png", home / "i" / "2.png"):
        Image.new("L", (8, 8)).save(place)
    (home / "link.png").symlink_to("../secret.png")
    (home / "way").symlink_to("..")
    text = TABLES[number % len(TABLES)].replace("ABSOLUTE", str(folder / "secret.png"))
    (home / "t.csv").write_text(text)


RECIPES = (
    "!!python/object/apply:os.system ['mkdir MARKER']",
    "lr: !!python/object/apply:os.makedirs ['MARKER']",
    "lr: !!python/name:os.system",
    "lr: 0.1\nlr: 0.2\n",
    "zoom: 3\n",
    "betas: &a [0.5, 0.9]\nmilestones: *a\n",
    "a: &a [1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(20)),
    "lr: " + "[" * 9000,
    "lr: " + "{a: " * 4000,
    "lr: 1e999\n",
    "epochs: " + "9" * 10_000,
    "epochs: {type: x}\n",
    "? [a, b]\n: 1\n",
    "lr: 'x'\n" * 10_000,
    "\x00",
    "- 1\n- 2\n",
)


def recipe(folder: Path, number: int) -> None:
    text = RECIPES[number % len(RECIPES)].replace("MARKER", str(folder / MARKER))
    (folder / "recipe.yaml").write_text(text)


def _copy(name: str, suffix: str) -> Callable[[Path, int], None]:
    """Mutations of a good file of this kind."""

    def write(folder: Path, number: int) -> None:
        file = io.BytesIO()
        if name == "checkpoint":
            torch.save({"patch_embed.proj.weight": torch.zeros(4, 3, 4, 4), "epoch": 3}, file)
        else:
            labels = np.arange(6, dtype=np.uint8).reshape(6, 1) % 2
            arrays = {
                f"{part}_{what}": each
                for part in PARTS
                for what, each in (("images", np.zeros((6, 28, 28), np.uint8)), ("labels", labels))
            }
            np.savez_compressed(file, **arrays)
        (folder / f"{name}{suffix}").write_bytes(mutate(file.getvalue(), number))

    return write


def _checkpoint(name: str) -> Read:
    return lambda folder: recognise(read_checkpoint(folder / name))


def _resume(folder: Path) -> None:
    load_checkpoint(folder)


def _opened(name: str) -> Read:
    def read(folder: Path) -> None:
        opened = open_data(folder / name)
        for part in PARTS:
            opened.split(part).read(0)

    return read


KINDS = (
    *(
        Kind(f"pickle named x{end}", 8, pickle_as(f"x{end}"), _checkpoint(f"x{end}"))
        for end in (".pt", ".pth", ".ckpt")
    ),
    Kind("pickle named resume.ckpt", 8, pickle_as(RESUME), _resume),
    Kind("pickle named x.npz", 8, pickle_as("x.npz"), _opened("x.npz")),
    Kind("pickle named x.npy", 8, pickle_as("x.npy"), lambda folder: read_image(folder / "x.npy")),
    Kind("pickle named weights.safetensors", 8, pickle_as("bundle/weights.safetensors"), open_bundle),
    Kind("pickle named scope.safetensors", 8, pickle_as("bundle/scope.safetensors"), open_bundle),
    Kind("lying header of weights.safetensors", 35, header_of("bundle/weights.safetensors"), open_bundle),
    Kind("lying header of scope.safetensors", 35, header_of("bundle/scope.safetensors"), open_bundle),
    Kind("bundle.json that asks for too much", len(DESCRIPTIONS), description, open_bundle, harmless=True),
    Kind("mutated bundle", 1000, mutated_bundle, open_bundle, harmless=True),
    Kind("mutated bundle with a digest that fits", 500, mutated_with_digest, open_both, harmless=True),
    Kind("npz that lies, explodes or climbs out", 15, archive, open_archive),
    Kind("npz with members that would land elsewhere", 6, climbing_archive, open_archive, harmless=True),
    Kind("mutated npz", 200, _copy("mutated", ".npz"), _opened("mutated.npz"), harmless=True),
    Kind("mutated checkpoint", 200, _copy("checkpoint", ".pth"), _checkpoint("checkpoint.pth"), harmless=True),
    Kind(
        "table that leads out of its folder, or is none",
        len(TABLES),
        table,
        lambda folder: open_data(folder / "given" / "t.csv"),
    ),
    Kind(
        "recipe that runs, repeats or explodes",
        len(RECIPES),
        recipe,
        lambda folder: load_recipe(str(folder / "recipe.yaml")),
    ),
)


def fresh(folder: Path, good: Path) -> None:
    """An empty folder with a copy of the good bundle."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder / "bundle")
