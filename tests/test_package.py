"""The package as a user gets it: what `python -m build` makes, installed with the core dependencies and nothing else.

Installing torch anew for this would take minutes and a network. Instead, the bare environment is a real, empty venv
without access to any other; into its site-packages go links to the distributions that this environment holds and that
the wheel's own metadata asks for, found by following the requirements from one distribution to the next. What no core
dependency asks for (the extras, the test tools) is not there. Then pip installs the wheel without an index, and
`pip check` confirms that every requirement is met.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "examples" / "photos" / "grace_hopper.jpg"
MAX_WHEEL_MB = 24


def run(*command: object, cwd: Path) -> str:
    """Run a command without what points Python at this checkout; return its output, or fail with it."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built from a copy: nothing old is packed, nothing is left behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    for name in ("src", "docs"):
        shutil.copytree(
            ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    # The wheel is built from the sdist. The build tools are those of this environment: no isolated one, no download.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", source / "dist", cwd=source)
    return source / "dist"


def the_wheel(built: Path) -> Path:
    """The one wheel in the folder; it is for every Python and platform."""
    (wheel,) = built.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    return wheel


def core_distributions(wheel: Path) -> dict[str, metadata.Distribution]:
    """The installed distributions that the wheel needs without extras, directly or through others."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        required = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    found: dict[str, metadata.Distribution] = {}
    seen: set[str] = set()
    to_follow = [(line, frozenset({""})) for line in required]
    while to_follow:
        line, extras = to_follow.pop()
        requirement = Requirement(line)
        wanted = requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
        key = f"{requirement.name}{sorted(requirement.extras)}"
        if wanted and key not in seen:
            seen.add(key)
            distribution = metadata.distribution(requirement.name)
            found[canonicalize_name(requirement.name)] = distribution
            below = frozenset({"", *requirement.extras})
            to_follow += [(line, below) for line in distribution.requires or []]
    return found


@pytest.fixture(scope="module")
def bare(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel, its core dependencies and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    wheel = the_wheel(built)
    for distribution in core_distributions(wheel).values():
        # Scripts, which lie outside site-packages ("../../../bin/…"), are left out.
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    run(sys.executable, "-m", "pip", "--python", python, "check", cwd=folder)
    return folder / "bin"


def test_the_wheel_holds_everything(built: Path) -> None:
    wheel = the_wheel(built)
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("opensapiens/") and not name.endswith("/")}
        licenses = {name.rpartition("/")[2] for name in archive.namelist() if "/licenses/" in name}
    source = ROOT / "src"
    files = {path for path in (source / "opensapiens").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert packed == {path.relative_to(source).as_posix() for path in files}
    assert {"LICENSE", "NOTICE"} <= licenses
    assert "opensapiens/py.typed" in packed
    for name in ("model.safetensors", "config.json", "MODEL_CARD.md"):
        assert {f"opensapiens/weights/{model}/{name}" for model in ("nano", "detector")} <= packed
    for folder in ("labels", "synthetic"):
        assert any(name.startswith(f"opensapiens/{folder}/tables/") for name in packed), f"no tables of {folder}"
    assert wheel.stat().st_size < MAX_WHEEL_MB * 1e6


def test_the_installed_pages_are_where_the_help_says(bare: Path, tmp_path: Path) -> None:
    help_text = run(bare / "opensapiens", "--help", cwd=tmp_path)
    folder = Path(help_text.splitlines()[-1].rpartition(" ")[2])
    assert folder.is_relative_to(bare.parent)
    assert {path.name: path.read_text() for path in folder.glob("*.md")} == {
        path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")
    }
    assert (folder / "pictures" / "convention_depth.png").is_file()


def test_the_sdist_holds_the_license(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "src/opensapiens/py.typed"} <= names


def test_the_bare_environment_is_bare(bare: Path, tmp_path: Path) -> None:
    code = """
import importlib.util
for name in ("anny", "warp", "trimesh", "av", "faster_coco_eval", "tensorboard", "pytest", "setuptools"):
    if importlib.util.find_spec(name):
        print(name)
"""
    # torch itself asks for setuptools on Python 3.12 and newer.
    assert set(run(bare / "python", "-c", code, cwd=tmp_path).split()) <= {"setuptools"}
    where = run(bare / "python", "-c", "import opensapiens; print(opensapiens.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(bare.parent)


def test_the_installed_package_predicts(bare: Path, tmp_path: Path) -> None:
    run(bare / "opensapiens", "predict", PHOTO, "--output", tmp_path / "out", cwd=tmp_path)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any(path.suffix == ".json" for path in written), f"no results as data among {written}"
    assert any(path.suffix in (".jpg", ".png") for path in written), f"no picture among {written}"
