"""A root file system for a few programs: the files, and every library that these link, in one tar file.

The loader of dynamic libraries looks where it was built to look, so a library lies in the image where it lies on
this machine.  The same files give the same bytes: no times, no owners, one order.
"""

import hashlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cacheproof.models.errors import EnvironmentFault

__all__ = ["RootFs", "is_program", "libraries", "pack"]

_ELF: Final = b"\x7fELF"
_LOADER_CACHE: Final = Path("/etc/ld.so.cache")
_LINKED: Final = re.compile(
    r"^\s*(?:(?P<name>\S+) => )?(?P<path>/\S+|not found)(?: \(0x[0-9a-f]+\))?$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class RootFs:
    """What is inside, by absolute path: files to copy (a path) or to write (text), and folders with their owner.

    Folders that lead to files need not be listed.  `/tmp` is there without being listed.
    """

    files: Mapping[str, Path | str]
    folders: Mapping[str, int]


def is_program(path: Path) -> bool:
    """Whether a file is a program or a library, of which libraries can be asked for."""
    with path.open("rb") as file:
        return file.read(len(_ELF)) == _ELF


def libraries(programs: Iterable[Path]) -> dict[str, Path]:
    """Every library that the programs link, directly or through others, by the path at which they look for it.

    Raises EnvironmentFault if one is not on this machine.
    """
    found: dict[str, Path] = {}
    for program in programs:
        # Says nothing of use, and fails, where there is nothing to link.
        asked: list[str | Path] = ["ldd", program]
        said = subprocess.run(
            asked, check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        )
        for match in _LINKED.finditer(said.stdout):
            if match["path"] == "not found":
                raise EnvironmentFault(
                    f"library {match['name']!r}, which {str(program)!r} links, is not on this machine; install it"
                )
            found[match["path"]] = Path(match["path"])
    if found and _LOADER_CACHE.is_file():
        found[str(_LOADER_CACHE)] = _LOADER_CACHE  # for libraries outside the folders that the loader knows
    return found


def pack(root: RootFs, tar: Path, also: Iterable[str] = ()) -> str:
    """Write the tar file; returns a digest of it and of the words in `also`."""
    with tarfile.open(tar, "w") as archive:
        for name in sorted({*_folders(root), *root.folders, "/tmp"}):
            archive.addfile(_folder(name, root.folders.get(name, 0)))
        for name, content in sorted(root.files.items()):
            _add(archive, name, content)
    digest = hashlib.sha256(tar.read_bytes())
    for words in also:
        digest.update(words.encode() + b"\0")
    return digest.hexdigest()[:16]


def _folders(root: RootFs) -> set[str]:
    """Every folder that leads to something."""
    parents = {str(parent) for name in (*root.files, *root.folders) for parent in Path(name).parents}
    return parents - {"/"}


def _folder(name: str, owner: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.type, entry.uid, entry.gid = tarfile.DIRTYPE, owner, owner
    entry.mode = 0o1777 if name == "/tmp" else 0o755
    return entry


def _add(archive: tarfile.TarFile, name: str, content: Path | str) -> None:
    """Symbolic links are followed: what is inside is the file."""
    data = content.encode() if isinstance(content, str) else content.read_bytes()
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.size, entry.mode = len(data), 0o755
    archive.addfile(entry, io.BytesIO(data))
