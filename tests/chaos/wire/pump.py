"""A pump between client and server: the assembler and the tracker held to their word.

It forwards one cycle at a time.  A reply that comes with no tracker, or to the wrong one, and a tracker that
waits for what never comes, are faults.
"""

import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from cacheproof.chaos.wire.framing import FramingError
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
    ssl_refusal,
)

PORT = 5432
HANG_S = 5.0
FAULTS = (FramingError, OSError, AssertionError, LookupError, TypeError, ValueError, AttributeError)


@dataclass(eq=False)
class Session:
    """One client connection through the pump."""

    client: socket.socket
    server: socket.socket
    frontend: FrontendParser = field(default_factory=FrontendParser)
    backend: BackendParser = field(default_factory=BackendParser)
    assembler: CycleAssembler = field(default_factory=CycleAssembler)
    started: bool = False
    cycle: Cycle | None = None
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
    opened: list[Startup | CancelRequest] = field(default_factory=list)
    refused: int = 0
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
        for session in list(self.sessions):
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
                if session is not None and session not in self.sessions:
                    continue  # dropped by an earlier event of the same batch
                try:
                    handle(session)
                except FAULTS as error:
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
                self.opened.append(packet)
                self._to_server(session, packet.raw)
            else:
                self.refused += 1
                session.client.sendall(ssl_refusal())

    def _from_client_typed(self, session: Session, message: Message) -> None:
        if is_copy(message):
            self.copied += 1
            self._to_server(session, message.raw)
            return
        cycle = session.assembler.feed(message)
        if cycle is not None:
            session.waiting.append(cycle)
            self._forward(session)

    def _forward(self, session: Session) -> None:
        while session.tracker is None and session.waiting:
            session.cycle = cycle = session.waiting.popleft()
            session.tracker = session.assembler.tracker(cycle)
            session.since = time.monotonic()
            self._to_server(session, cycle.raw)
            if session.tracker.complete:
                self._finish(session)

    def _to_server(self, session: Session, data: bytes) -> None:
        # A server that ended the session (a fatal error) may be gone before the client's goodbye arrives:
        # the end of its stream is the next thing to be read.
        with suppress(ConnectionError):
            session.server.sendall(data)

    def _finish(self, session: Session) -> None:
        assert session.tracker is not None and session.cycle is not None
        self.exchanges.append((session.cycle, session.tracker.result))
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
