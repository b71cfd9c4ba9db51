"""CPU time by kind of process, from the kernel's scheduler: what a schedule costs, whoever else is busy (Linux)."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cacheproof.chaos.servers.embedded import EmbeddedServers

__all__ = ["cpu_ms"]


def cpu_ms(servers: EmbeddedServers) -> dict[str, float]:
    """Milliseconds that the director, its clients (with the zygote) and both servers have run so far.

    Processes that have ended no longer count: compare two moments between which none does.
    """
    parents = _parents()
    supervisor = parents.get(servers.cache.pid or 0, 0)
    director = os.getpid()
    clients = set(_below(director, parents, without=supervisor)) - {director}
    kinds: dict[str, Iterable[int]] = {
        "director": [director],
        "clients": clients,
        "cache": _below(servers.cache.pid or 0, parents),
        "database": _below(servers.database.pid or 0, parents),
    }
    return {kind: sum(map(_ran_ms, pids)) for kind, pids in kinds.items()}


def _parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                text = (entry / "stat").read_bytes()
                found[int(entry.name)] = int(text[text.rindex(b")") + 2 :].split()[1])
    return found


def _below(pid: int, parents: dict[int, int], without: int = 0) -> list[int]:
    """A process and all its descendants, except the tree of `without`."""
    children = [child for child, parent in parents.items() if parent == pid and child != without]
    return [pid, *(item for child in children for item in _below(child, parents, without))]


def _ran_ms(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except OSError:
        return 0.0
