"""Is everything here that the harness needs?  Looked at without starting anything that stays."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from cacheproof.chaos.servers.binaries import find_binaries
from cacheproof.chaos.servers.engine import connect_engine
from cacheproof.chaos.settling import ProcessWatch, SocketTable
from cacheproof.models.errors import CacheproofError

__all__ = ["Line", "examine"]

_ENOUGH_MIB = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at: what, whether it is well, what was found, and whether anything needs it."""

    what: str
    well: bool
    found: str
    needed: bool = True


def examine() -> Iterator[Line]:
    """Look at everything in turn."""
    yield Line("python", sys.version_info >= (3, 11), platform.python_version())
    yield _try("kernel tables for settling", _settling)
    yield _try("server binaries", _binaries)
    yield _disk()
    yield _cores()
    yield replace(_try("Docker engine", _engine), needed=False)


def _try(what: str, look: Callable[[], str]) -> Line:
    try:
        return Line(what, True, look())
    except (CacheproofError, OSError) as error:
        return Line(what, False, str(error))


def _settling() -> str:
    table = SocketTable()
    table.close()
    watch = ProcessWatch(os.getpid())
    watch.close()
    return f"sock_diag and /proc answer on {platform.system()} {platform.release()}"


def _binaries() -> str:
    found = find_binaries()
    return f"Valkey in {found.valkey.parent}, PostgreSQL in {found.postgres.parent}"


def _engine() -> str:
    engine = connect_engine()
    try:
        return f"version {engine.version()} at {engine.host}"
    finally:
        engine.close()


def _disk() -> Line:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free // (1 << 20)
    return Line("temporary folder", free >= _ENOUGH_MIB, f"{folder}, {free:,} MiB free")


def _cores() -> Line:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Line("cores", True, f"{allowed} (one is used for a run)")
