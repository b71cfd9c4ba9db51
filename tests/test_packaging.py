"""What is installed is what is in the folders: the wheel, built through the sdist as an index would do it.

Built from a copy of the files that git knows, so that whatever else lies in the tree does not matter, with
hatchling's own build functions and without a network.
"""

import ast
import configparser
import email
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("chaos", "harness", "models", "patterns", "reports")

BUILD = "import sys, hatchling.build as backend; getattr(backend, sys.argv[1])(sys.argv[2])"

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0], sys.path[len(sys.path):] = [sys.argv[1]], [sys.argv[2]]
import cacheproof
for module in pkgutil.walk_packages(cacheproof.__path__, "cacheproof."):
    found = importlib.import_module(module.name).__file__
    if not found.startswith(sys.argv[1]):
        sys.exit(f"{module.name} came from {found}")
    sys.stdout.write(module.name + "\\n")
"""


@dataclass(frozen=True)
class Built:
    """The files that git knows, and the folders into which sdist and wheel were unpacked."""

    tracked: tuple[str, ...]
    sdist: Path
    wheel: Path

    @property
    def metadata_folder(self) -> Path:
        (folder,) = self.wheel.glob("cacheproof-*.dist-info")
        return folder

    @property
    def metadata(self) -> Message:
        return email.message_from_string((self.metadata_folder / "METADATA").read_text("utf-8"))


def tracked_files() -> tuple[str, ...]:
    """The files of this tree that git knows and that are there.  Skips the tests where git cannot tell."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("without git and its folder nobody can tell our files from others")
    listing = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip(f"git does not list the files: {listing.stderr.strip()}")
    return tuple(name for name in listing.stdout.split("\0") if name and (ROOT / name).exists())


def build(hook: str, source: Path, target: Path) -> Path:
    """Call a build hook of hatchling in `source`; returns the one file that it puts into `target`."""
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, hook, target], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (file,) = target.iterdir()
    return file


def unpack_sdist(file: Path, target: Path) -> Path:
    with tarfile.open(file) as archive:
        if hasattr(tarfile, "data_filter"):  # Python before 3.11.4 has no filters
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(target)
    (folder,) = target.iterdir()
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    tracked = tracked_files()
    work = tmp_path_factory.mktemp("packaging")
    for name in tracked:
        (work / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, work / "tree" / name, follow_symlinks=False)
    sdist = unpack_sdist(build("build_sdist", work / "tree", work / "sdist"), work / "unpacked")
    wheel = build("build_wheel", sdist, work / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "installed")
    return Built(tracked, sdist, work / "installed")


def test_the_wheel_holds_the_folders_and_nothing_else(built: Built) -> None:
    """Every file of the five folders is in the wheel below cacheproof/, with the face and its data; nothing more."""
    expected = {f"cacheproof/{name}" for name in built.tracked if name.partition("/")[0] in FOLDERS}
    expected |= {"cacheproof/__init__.py", "cacheproof/py.typed", "cacheproof/truth-table.json"}
    held = {path.relative_to(built.wheel).as_posix() for path in built.wheel.rglob("*") if path.is_file()}
    assert {name for name in held if ".dist-info/" not in name} == expected


def test_the_wheel_holds_what_the_tree_holds(built: Built) -> None:
    """The files in the wheel have the bytes of those in the tree."""
    names = [name for name in built.tracked if name.partition("/")[0] in FOLDERS]
    assert names
    assert [
        name
        for name in names
        if (built.wheel / "cacheproof" / name).read_bytes() != (ROOT / name).read_bytes()
    ] == []


def test_the_truth_table_travels_along(built: Built) -> None:
    """The advice of an installed package goes by the data that stand in docs/."""
    data = (ROOT / "docs/truth-table.json").read_bytes()
    assert (built.wheel / "cacheproof" / "truth-table.json").read_bytes() == data


def test_the_wheel_imports_by_itself(built: Built) -> None:
    """Every module of the wheel can be imported where there is no source tree."""
    program = [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(built.wheel), sysconfig.get_path("purelib")]
    done = subprocess.run(program, cwd=built.wheel, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {f"cacheproof.{folder}" for folder in FOLDERS} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("group", "name", "target"),
    [
        ("console_scripts", "cacheproof", "cacheproof.harness.cli:main"),
        ("pytest11", "cacheproof", "cacheproof.harness.plugin"),
    ],
)
def test_entry_points_lead_somewhere(built: Built, group: str, name: str, target: str) -> None:
    """The command and the pytest plugin are announced, and what they name is in the wheel."""
    points = configparser.ConfigParser()
    points.read_string((built.metadata_folder / "entry_points.txt").read_text("utf-8"))
    assert points[group][name] == target
    module, _, function = target.partition(":")
    tree = ast.parse((built.wheel / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    assert not function or function in {getattr(node, "name", None) for node in tree.body}


def test_licence_and_readme_travel_along(built: Built) -> None:
    """The sdist holds both as files, the wheel the licence as a file and the README as its description."""
    for name in ("LICENSE", "README.md"):
        assert (built.sdist / name).read_bytes() == (ROOT / name).read_bytes()
    assert (built.metadata_folder / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert built.metadata["License-Expression"] == "Apache-2.0"
    assert str(built.metadata.get_payload()).strip() == (ROOT / "README.md").read_text("utf-8").strip()


def test_the_sdist_can_be_tested(built: Built) -> None:
    """The sdist holds the tests and examples, as those who package it elsewhere expect."""
    wanted = [name for name in built.tracked if name.startswith(("tests/", "examples/"))]
    assert [name for name in wanted if not (built.sdist / name).is_file()] == []


def test_types_are_announced(built: Built) -> None:
    """The marker that makes type checkers read our annotations is in the wheel."""
    assert (built.wheel / "cacheproof" / "py.typed").is_file()
