"""The world of a run: servers, wire, clock, the zygote, and the director's own lines to both servers.

Made once for a cache under test, reset before every run: the cache emptied, the records put back, every
connection of a client new.  Only what the harness started itself is ever flushed.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cacheproof.chaos.cacheclock import CacheClock, Disturbance
from cacheproof.chaos.clock import RunClock
from cacheproof.chaos.servers.servers import Servers
from cacheproof.chaos.settling import SocketTable
from cacheproof.chaos.wire.pglink import DatabaseEnd
from cacheproof.chaos.wire.reactor import Reactor
from cacheproof.chaos.wire.redislink import CacheEnd
from cacheproof.chaos.wire.upstream import PgUpstream, RedisPool, RedisUpstream, Upstream
from cacheproof.chaos.wire.wire import Wire
from cacheproof.harness.environment import Environment
from cacheproof.harness.pinning import stay_on_this_core
from cacheproof.harness.process import ClientProcess
from cacheproof.harness.records import RecordsTable
from cacheproof.harness.zygote import Zygote
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.schedule import Scenario

__all__ = ["PATIENCE_S", "World"]

PATIENCE_S = 10.0
"""Real seconds that a client may compute between two exchanges before it counts as hanging."""

_NOTICED_S = 0.5
"""Real seconds: a server that has died is known to be dead that much later, even on a busy machine."""

_FIRST_RUNS = 2
_EVERY_RUNS = 16

_SESSION = {"user": "cacheproof", "database": "records"}
_WAITS_FOR_ITSELF = (
    "with recursive ahead(pid) as (select unnest(pg_blocking_pids({pid})) union"
    " select unnest(pg_blocking_pids(ahead.pid)) from ahead)"
    " select exists (select from ahead where pid = {pid})"
)


_SCRIPT_COUNTS = (b"number_of_cached_scripts", b"number_of_functions", b"number_of_libraries")


def _flush(admin: RedisUpstream) -> None:
    """Empty the cache.  Forgetting scripts builds an interpreter anew, so it is done only if there are any.

    A server before Redis 7 counts no functions, since it has none, and refuses to forget them.
    """
    emptied, memory = admin.call_many([("FLUSHALL",), ("INFO", "memory")])
    if emptied.is_error:
        raise EnvironmentFault(f"the cache refuses FLUSHALL: {emptied.value!r}; allow it to the harness")
    said = memory.value if isinstance(memory.value, bytes) else b""
    if not all(b"\r\n%s:0\r\n" % name in said for name in _SCRIPT_COUNTS):
        admin.call_many([("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH")])


class World:
    """Everything that outlives a run.  One thread uses it."""

    def __init__(
        self,
        make_cache: Callable[[Environment], Any],
        servers: Servers,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.servers = servers
        self.patience_s = patience_s
        self.hangs = 0
        """How often somebody's patience has come to its end."""
        self.suspicious = False
        """Whether clients' connections are looked at in every run."""
        self.bypassed: str | None = None
        """That a client has connected to somebody around the wire, in words; whoever asks sets it back."""
        self.runs = 0
        self.reuse_processes = True
        """Whether a process may serve several runs.  Only whoever compares histories should switch it off."""
        self._admin: RedisUpstream | None = None
        self._idle: dict[tuple[int, str], ClientProcess] = {}
        with ExitStack() as opened:
            self._open(make_cache, opened)
            self._opened = opened.pop_all()

    def _open(self, make_cache: Callable[[Environment], Any], opened: ExitStack) -> None:
        """Open everything; what has been opened is closed again if one of them cannot be had."""
        self.clock = RunClock.create()
        opened.callback(self.clock.close)
        self.reactor = Reactor()
        opened.callback(self.reactor.close)
        self.sockets = SocketTable()
        opened.callback(self.sockets.close)
        self.log = Path(self.servers.folder) / f"clients-{os.urandom(4).hex()}.log"
        self.records = RecordsTable(self._session())
        opened.callback(lambda: self.records.close())
        self.watcher = self._session()
        opened.callback(lambda: self.watcher.close())
        self._database_up = True
        self.zygote = Zygote(make_cache, self.clock, self.log)
        opened.callback(self.zygote.close)
        import_mode = self.servers.features.import_mode
        self.cache_clock = CacheClock(self.clock, import_mode=import_mode)
        pool = RedisPool(self.servers.cache, import_source=import_mode)
        self._cache_end = CacheEnd(pool, self.cache_clock)
        self._database_end = DatabaseEnd(self.servers.database)
        self.wire = Wire(self.reactor, self._cache_end, self._database_end)
        for close in (self.wire.close, self._forget_admin, self.end_idle):
            opened.callback(close)

    def _session(self) -> PgUpstream:
        return PgUpstream(self.servers.database.address, _SESSION)

    def reset(self, scenario: Scenario) -> None:
        """Put everything back to the start of a run of `scenario`."""
        self.runs += 1
        self.wire.end()
        self.clock.set_ns(0)
        self.clock.unskew()
        self.clock.ask_no_more()
        if not self.database_is_up():
            self.start_database()
        self._database_end.clean()
        self.records.reset({key: str(value) for key, value in scenario.initial_values().items()})
        if not self.servers.cache.running:
            self.expect_servers()
            self.servers.cache.start()
            stay_on_this_core(self.servers.cache.pid)
            self.wire.admit(ServerName.CACHE)
            self._forget_admin()
        admin = self._admin_line()
        _flush(admin)
        self.cache_clock.begin(admin)
        self.wire.begin(scenario.keys)
        for process in range(scenario.processes):
            self.wire.addresses(process)  # a port that is opened while its server is down would not refuse

    def _admin_line(self) -> RedisUpstream:
        if self._admin is None:
            self._admin = RedisUpstream(self.servers.cache.address, 2, import_source=False)
            if self.servers.features.import_mode:
                self._admin.call("CONFIG", "SET", "import-mode", "yes")
                self._admin.call("CLIENT", "IMPORT-SOURCE", "ON")
        return self._admin

    def _forget_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    # -- processes that are kept from run to run -----------------------------------------------------------

    def take_idle(self, number: int, name: str) -> ClientProcess | None:
        """The process that was this client in an earlier run, if it was kept."""
        return self._idle.pop((number, name), None)

    def keep_idle(self, name: str, process: ClientProcess) -> None:
        """Keep an idle process for the next run, or end it if every run is to have new ones."""
        if self.reuse_processes:
            self._idle[process.number, name] = process
        else:
            process.kill()

    def end_idle(self) -> None:
        """End all processes that were kept: the next run gets new ones."""
        while self._idle:
            self._idle.popitem()[1].kill()

    # -- the cache server ----------------------------------------------------------------------------------

    def kill_cache(self) -> None:
        """SIGKILL the cache: its ports refuse, nothing of it survives."""
        self.cache_clock.disturbance()  # while it can be asked
        self.servers.cache.kill()
        self._forget_admin()
        self._cache_end.pool.clear()
        self.wire.refuse(ServerName.CACHE)

    def start_cache(self) -> None:
        """Start the cache again, empty, at the same addresses."""
        self.servers.cache.start()
        stay_on_this_core(self.servers.cache.pid)
        self.cache_clock.rejoin(self._admin_line())
        try:
            self.wire.admit(ServerName.CACHE)
        except EnvironmentFault as error:
            raise EnvironmentFault(
                f"{error} it was free while the cache was down; end the program that has taken it, and run again"
            ) from error

    def cache_is_up(self) -> bool:
        return self._admin is not None

    # -- the database server -------------------------------------------------------------------------------

    def kill_database(self) -> None:
        """SIGKILL the database: its ports refuse; what it had acknowledged survives."""
        self.servers.database.kill()
        self._database_up = False
        self._database_end.clear()
        self.wire.refuse(ServerName.DATABASE)
        for book in (self.wire.dropped, self.wire.abandoned):
            book.clear()

    def start_database(self) -> None:
        """Start the database again, at the same addresses; it recovers first."""
        self.servers.database.start()
        stay_on_this_core(self.servers.database.pid)
        self.records.reopen(self._session())
        self.watcher.close()
        self.watcher = self._session()
        self._database_up = True
        self.wire.admit(ServerName.DATABASE)

    def database_is_up(self) -> bool:
        return self._database_up

    def disturbance(self) -> Disturbance | None:
        """Why nothing can be said of the run up to now: real time, or chance, had a part in it."""
        try:
            return self.cache_clock.disturbance() if self.cache_is_up() else None
        except ConnectionError as error:
            raise self.fault_of(error) from error

    # -- what may go wrong with the machine ----------------------------------------------------------------

    @property
    def looks_closely(self) -> bool:
        """Whether this run is one of the few in which clients' connections are looked at from outside."""
        return self.suspicious or self.runs <= _FIRST_RUNS or self.runs % _EVERY_RUNS == 0

    def expect_servers(self) -> None:
        """Raises EnvironmentFault if a server that should run does not."""
        expected = [self.servers.database] if self.database_is_up() else []
        expected += [self.servers.cache] if self.cache_is_up() else []
        for server in expected:
            if not server.running:
                raise EnvironmentFault(
                    f"the {server.name} server ended by itself during a run ({server.describe()}): was it killed, "
                    "or is memory short? run again, and it is started anew"
                )

    def fault_of(self, error: Exception) -> EnvironmentFault:
        """What is wrong with the machine, given what that led to in the middle of a run."""
        give_up = time.monotonic() + _NOTICED_S
        while time.monotonic() < give_up:
            try:
                self.expect_servers()
            except EnvironmentFault as fault:
                return fault
            time.sleep(_NOTICED_S / 50)
        if isinstance(error, EnvironmentFault):
            return error
        return EnvironmentFault(
            f"a server broke off in the middle of a run: {error}; see whether it restarted, and run again"
        )

    # -- what only the servers know ------------------------------------------------------------------------

    @staticmethod
    def session_pid(upstream: Upstream) -> int:
        assert isinstance(upstream, PgUpstream)
        return upstream.pid

    @staticmethod
    def in_transaction(upstream: Upstream) -> bool:
        return isinstance(upstream, PgUpstream) and upstream.status != "I"

    def blocked_by_lock(self, pid: int) -> bool:
        """Whether a session waits for a lock that another one holds."""
        return self.watcher.query(f"select cardinality(pg_blocking_pids({pid})) > 0").rows[0][0] is True

    def deadlocked(self, pid: int) -> bool:
        """Whether a session waits, directly or through others, for itself."""
        return self.watcher.query(_WAITS_FOR_ITSELF.format(pid=pid)).rows[0][0] is True

    def terminate(self, pid: int) -> None:
        self.watcher.query(f"select pg_terminate_backend({pid})")

    def wait_gone(self, pids: list[int]) -> None:
        """Return when the database has ended these sessions, with their transactions and locks."""
        while pids:
            pids = self._alive(pids)

    def _alive(self, pids: list[int]) -> list[int]:
        wanted = ", ".join(str(pid) for pid in pids)
        rows = self.watcher.query(f"select pid from pg_stat_activity where pid in ({wanted})").rows
        return [int(str(row[0])) for row in rows]

    def still_waiting(self, pids: list[int]) -> list[int]:
        """Those of these sessions that wait for a lock, once none of them runs any more."""
        while running := [pid for pid in self._alive(pids) if not self.blocked_by_lock(pid)]:
            pids = [pid for pid in pids if pid in running or self.blocked_by_lock(pid)]
        return self._alive(pids) if pids else []

    def take_output(self) -> str:
        """What clients have printed since the last call (at most 64 KiB of it)."""
        try:
            with open(self.log, "r+b") as file:
                text = file.read(1 << 16)
                file.truncate(0)
        except FileNotFoundError:
            return ""
        return text.decode(errors="replace")

    def close(self) -> None:
        """Let go of everything: the clients first, then what they were led to."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
