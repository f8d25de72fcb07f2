"""Imports point down, and what is kept apart stays apart."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "medmamba"

# from the top down: a module may import its own room and those below it
LAYERS = [
    ("__main__",),
    ("cli",),
    ("serve",),
    ("demo", "info", "importing", "ensembling", "benchmark", "export", "report", "paper", "verification"),
    ("evaluation", "training", "explain", "robustness", "calibration"),
    ("predictor",),
    ("device", "boxed"),
    ("backbone",),
    ("bundle",),
    ("card",),
    ("check",),
    ("models", "data", "metrics"),
    ("network", "drawing", "page"),
    ("manifest", "weights"),
    ("json_file",),
    ("tasks", "ops", "errors", "text", "writing", "decisions"),
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
SIDEWAYS = {
    ("benchmark", "export"),
    ("tasks", "errors"),
    ("decisions", "errors"),
    ("writing", "errors"),
}  # allowed although on one level

# package: rooms that may import it; anywhere else it is a breach
ONLY_IN = {
    "lightning": {"training"},
    "timm": {"models", "training"},
    "triton": {"ops"},
    "numba": {"ops"},
    "llvmlite": {"ops"},
    "matplotlib": {"drawing", "training", "evaluation", "explain", "robustness"},
    "sklearn": {"check", "explain", "calibration"},
    "threadpoolctl": {"explain", "paper"},
    "flaml": {"paper"},
    "pytorch_grad_cam": {"explain"},
    "rich": {"cli", "training"},
    "tyro": {"cli", "training"},
    "fastapi": {"serve"},
    "starlette": {"serve"},
    "pydantic": {"serve"},
    "uvicorn": {"serve"},
    "h11": {"serve"},
    "python_multipart": {"serve"},
    "onnx": {"export"},
    "onnxscript": {"export"},
    "onnxruntime": {"predictor"},
    "pydicom": {"data"},
}
# the command line's first import must stay light: no torch before a verb runs
LIGHT = [
    "cli/__init__.py",
    "cli/console.py",
    *sorted(str(path.relative_to(SOURCE)) for path in (SOURCE / "cli/verbs").glob("*.py")),
    "training/__init__.py",
    "training/config.py",
    "errors.py",
]


def imports(path: Path, *, top_level_only: bool = False) -> list[tuple[str, str]]:
    """(module, name) of every import in a file, leaving out those for type checkers."""
    found = []
    tree = ast.parse(path.read_text())
    hidden = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in tree.body if top_level_only else ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


def room(path: Path) -> str:
    """`ops` for ops/cpu.py, `bundle` for bundle.py."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def target(module: str, name: str) -> str | None:
    """The room of ours that an import names."""
    parts = module.split(".")
    if parts[0] != "medmamba":
        return None
    return parts[1] if len(parts) > 1 else name


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = room(path)
    if here == "__init__":
        return
    for module, name in imports(path):
        there = target(module, name)
        if there in (None, "", here, "__version__"):
            continue
        assert there in LEVEL, f"{path.name} imports {module}.{name}: a room that the list of layers lacks"
        below = LEVEL[there] > LEVEL[here]
        assert below or (here, there) in SIDEWAYS, f"{here} imports {there}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_packages_stay_in_their_rooms(path):
    here = room(path)
    for module, _ in imports(path):
        package = module.split(".")[0]
        assert package not in ONLY_IN or here in ONLY_IN[package], f"{here} imports {package}"
        assert not (here == "metrics" and package in ("torch", "timm")), "metrics are numpy alone"
        assert not (here == "ops" and package == "medmamba" and target(module, "") != "ops")
        assert not (here == "models" and module.startswith("torchvision"))


@pytest.mark.parametrize("name", LIGHT)
def test_the_command_line_starts_light(name):
    heavy = {"torch", "timm", "lightning", "numpy", "sklearn", "torchvision", "numba"}
    packages = {module.split(".")[0] for module, _ in imports(SOURCE / name, top_level_only=True)}
    assert not packages & heavy


def test_the_check_itself_sees_a_breach(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from medmamba.cli import main\n    import lightning.pytorch\n")
    assert imports(path) == [("medmamba.cli", "main"), ("lightning.pytorch", "")]
    assert target("medmamba.cli", "main") == "cli"
    assert LEVEL["cli"] < LEVEL["ops"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_without_a_subject_and_no_hidden_errors(path):
    assert path.stem not in ("utils", "helpers", "common", "misc")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno} catches everything"
            assert not all(isinstance(line, ast.Pass) for line in node.body), (
                f"{path.name}:{node.lineno} hides an error"
            )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert room(path) == "cli", f"{path.name}:{node.lineno} prints"
