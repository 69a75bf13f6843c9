"""Imports point one way, and the core stands without any extra.

`ALLOWED` is the table of docs/architecture.md: which folders of ours a folder may import, anywhere in its files, inside
functions too. Everything outside the standard library and the core dependencies is an extra, imported where it is used.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "opensapiens"
PHOTO = ROOT / "examples" / "photos" / "grace_hopper.jpg"

UP_TO_CHECKPOINTS = {"labels", "geometry", "backbones", "models", "data", "drawing", "tasks", "checkpoints"}
ALLOWED: dict[str, set[str]] = {
    "storage": set(),
    "labels": set(),
    "geometry": set(),
    "backbones": {"geometry"},
    "models": {"backbones", "geometry"},
    "data": {"labels", "geometry"},
    "drawing": {"labels", "geometry"},
    "tasks": {"labels", "geometry", "models", "data", "drawing"},
    "checkpoints": {"labels", "geometry", "backbones", "models", "tasks"},
    "export": {"geometry", "backbones", "models", "data", "checkpoints", "tasks"},
    "synthetic": {"labels", "geometry", "data", "drawing"},
    "training": {"labels", "geometry", "backbones", "models", "data", "drawing", "checkpoints", "tasks"},
    "inference": UP_TO_CHECKPOINTS | {"export"},
    "evaluation": UP_TO_CHECKPOINTS | {"inference"},
    "recipes": {"labels", "geometry", "backbones", "models", "data", "checkpoints", "tasks", "synthetic", "training"},
    "curation": {"labels", "geometry", "data", "drawing", "tasks", "inference"},
    "annotation": {"labels", "geometry", "data", "drawing", "tasks", "inference"},
    "app": {"drawing", "tasks", "inference"},
}
for own in ALLOWED.values():
    own.add("storage")
ALLOWED["storage"] = set()
ALLOWED["cli"] = set(ALLOWED) | {"cli", "opensapiens"}  # "opensapiens": the names that the package itself offers

# What each extra of pyproject.toml brings, by the names that are imported.
EXTRA_MODULES = {
    "train": {"tensorboard"},
    "eval": {"faster_coco_eval"},
    "exr": {"OpenEXR"},
    "formats": {"OpenEXR", "ezc3d", "pyarrow", "trimesh"},
    "detect": {"transformers"},
    "video": {"av"},
    "app": {"gradio", "trimesh"},
    "synthetic": {"anny", "warp", "trimesh"},
    "curate": {"ray", "rapidocr", "onnxruntime", "imagehash", "pyarrow"},
    "export": {"onnx", "onnxruntime", "onnxscript", "openvino"},
}

# Kernels are decorated functions, so their module needs Warp when it is imported, and so do the modules that build on
# it; `synthetic.synthesize`, the way in, imports them inside functions only.
DRAWING_MODULES = (
    "kernels",
    "patterns",
    "rasterizer",
    "environment",
    "materials",
    "surfaces",
    "props",
    "hair",
    "outfits",
    "wardrobe",
    "camera",
    "things",
    "places",
    "scene",
    "develop",
    "frame",
    "people_renderer",
    "scan_renderer",
)
KERNELS = {PACKAGE / "synthetic" / f"{name}.py" for name in DRAWING_MODULES}
# Gradio looks at the types of a handler's parameters, so they are there when the module is imported; `app.serve`, the
# way in, imports these inside a function.
WITH_GRADIO = {PACKAGE / "app" / name for name in ("layout.py", "page.py")}

# None there makes an import fail, and find_spec say that there is no such module, as when it is not installed.
BLOCK_EXTRAS = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(set().union(*EXTRA_MODULES.values()))}))
"""


def folder_of(module: str) -> str | None:
    """The folder of ours that a dotted name lies in, "opensapiens" for the package itself, None for anything else."""
    top, _, rest = module.partition(".")
    if top != "opensapiens":
        return None
    folder = rest.partition(".")[0]
    return folder if folder in ALLOWED else "opensapiens"


def imported_modules(source: str, package: str) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of each import in a file of `package`, also those in functions and by importlib."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            # "from opensapiens import labels" imports the folder labels.
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def wrong_imports(folder: str, package: str, source: str) -> list[str]:
    """The imports of a file that its folder may not have, as "line: name"."""
    wrong = []
    for line, module in imported_modules(source, package):
        target = folder_of(module)
        if target is not None and target != folder and target not in ALLOWED[folder]:
            wrong.append(f"{line}: {folder} may not import {module}")
    return wrong


def run_python(code: str, *arguments: object) -> str:
    """Run `code` in a fresh interpreter; return what it printed, or fail with its error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_folder_is_in_the_table() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders <= set(ALLOWED)
    assert {path.name for path in PACKAGE.glob("*.py")} <= {"__init__.py", "__main__.py"}


def test_the_table_has_no_cycle() -> None:
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {name for name in ALLOWED if name not in done and ALLOWED[name] - {name, "opensapiens"} <= done}
        assert ready, f"a cycle among {set(ALLOWED) - done}"
        done |= ready


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_imports_point_one_way(folder: str) -> None:
    wrong = []
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        package = ".".join(path.relative_to(PACKAGE.parent).parent.parts)
        wrong += [f"{path.relative_to(ROOT)}:{found}" for found in wrong_imports(folder, package, path.read_text())]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "import opensapiens.tasks",
        "from opensapiens.tasks.pose import PoseTask",
        "from opensapiens import tasks",
        "from opensapiens import load",
        "from .. import tasks",
        "from ..tasks.pose import heatmap_mse",
        "def f():\n    from ..tasks import pose",
        "import importlib\nimportlib.import_module('opensapiens.tasks')",
    ],
)
def test_a_wrong_import_is_seen(source: str) -> None:
    assert wrong_imports("models", "opensapiens.models", source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch.nn",
        "import opensapiens.geometry.boxes",
        "from opensapiens import geometry",
        "from . import cost",
        "from .heads import HEADS",
        "from ..geometry import boxes",
    ],
)
def test_a_right_import_passes(source: str) -> None:
    assert not wrong_imports("models", "opensapiens.models", source)


def test_the_blocked_modules_are_those_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRA_MODULES) == set(project["optional-dependencies"])


def test_an_extra_is_blocked() -> None:
    with pytest.raises(AssertionError, match="import of trimesh halted"):
        run_python(BLOCK_EXTRAS + "import trimesh")


def test_importing_the_package_is_light() -> None:
    loaded = run_python("import sys, opensapiens; print('torch' in sys.modules, 'cv2' in sys.modules)")
    assert loaded.split() == ["False", "False"], "import opensapiens must not import its dependencies yet"


def test_every_module_imports_without_extras() -> None:
    files = set(PACKAGE.rglob("*.py"))
    assert files >= KERNELS | WITH_GRADIO
    files -= KERNELS | WITH_GRADIO
    paths = [path.relative_to(PACKAGE.parent) for path in sorted(files) if path.name != "__main__.py"]
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    code = (
        BLOCK_EXTRAS
        + """
import importlib
failed = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        failed.append(f"{name}: {error}")
print("\\n".join(failed))
"""
    )
    assert run_python(code, *modules).strip() == ""


def test_the_core_alone_predicts() -> None:
    code = (
        BLOCK_EXTRAS
        + """
import opensapiens
result = opensapiens.load("nano", device="cpu")(sys.argv[1])
print(len(result.persons), *result.parts.labels.shape)
"""
    )
    persons, height, width = map(int, run_python(code, PHOTO).split())
    assert persons >= 1
    assert (height, width) == (600, 512)
