"""Whose a container is: the harness that made it, told apart from every other process there ever was.

    cacheproof.owner = MACHINE.BOOT.NAMESPACE.PID.STARTED

A process id alone is used again; with the time at which the process started it is not, within one boot of one
machine.  Nobody is called gone on suspicion:

    another machine                 it cannot be seen from here: not gone
    this machine, an earlier boot   gone
    another namespace of processes  it cannot be seen from here (a harness in a container): not gone
    this namespace                  gone if the process is, or if its id belongs to a later one
"""

import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Owner", "started_at", "this_process"]


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: `started` is in ticks since the boot; `machine`, `boot` and `namespace` are names without dots."""

    machine: str
    boot: str
    namespace: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.machine}.{self.boot}.{self.namespace}.{self.pid}.{self.started}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The owner that `str` wrote; None if it is not one."""
        words = text.split(".")
        if len(words) != 5 or not (words[3].isdigit() and words[4].isdigit()):
            return None
        return cls(words[0], words[1], words[2], int(words[3]), int(words[4]))

    def is_gone(self, here: "Owner") -> bool:
        """Whether this process has certainly ended, as far as the process `here` can see."""
        if self.machine != here.machine:
            return False
        if self.boot != here.boot:
            return True
        return self.namespace == here.namespace and not self._is_alive()

    def _is_alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's
            pass
        return started_at(self.pid) in (self.started, None)


def this_process() -> Owner:
    return Owner(
        machine=_machine(),
        boot=_read("/proc/sys/kernel/random/boot_id"),
        namespace=os.readlink("/proc/self/ns/pid").strip("pid:[]"),
        pid=os.getpid(),
        started=started_at(os.getpid()) or 0,
    )


def started_at(pid: int) -> int | None:
    """When a process started, in ticks since the boot; 0 if it has ended; None if nobody may know."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except ProcessLookupError:
        return 0
    except OSError:  # hidden: /proc may be mounted so that one sees one's own only
        return None
    return 0 if words[0] in "ZX" else int(words[19])


def _machine() -> str:
    """A name for this machine, or for the container that takes itself for one."""
    names = f"{_read('/etc/machine-id')} {socket.gethostname()}"
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
