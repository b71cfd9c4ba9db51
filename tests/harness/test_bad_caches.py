"""Caches that cannot be tested as they are: each gets a clear word, no false verdict, and leaves nothing behind.

Each class has one fault and is otherwise the cache-aside of the patterns.  What is asserted is the verdict
(never upheld where nothing is known), the words that say why and what to do, and that no process is left.
"""

import ctypes
import functools
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import psycopg
import pytest
import redis

from cacheproof import CACHE_ASIDE, Condition, Report, UsageError, Verdict, verify
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.postgres import DATABASE, PORT, USER
from cacheproof.harness.profiles import PROFILES
from cacheproof.harness.runner import Runner
from cacheproof.harness.world import World
from cacheproof.models.decision import Crash, Invoke, Restart
from cacheproof.models.operation import Outcome
from cacheproof.models.schedule import Scenario, Schedule
from cacheproof.patterns.cache_aside import CacheAside

PATIENCE_S = 0.3
"""Instead of ten seconds: a cache that hangs hangs for ever."""

SEARCH = replace(PROFILES["quick"], scopes=("1 reader × 1 writer",), random=4)

Judge = Callable[..., Report]


def clients_left() -> set[int]:
    """Processes that were forked from this one, or for it, and whose parent is this one or gone."""
    mine = Path("/proc/self/cmdline").read_bytes()
    session = os.getsid(0)
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
            parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            ours = os.getsid(int(name)) == session and (
                command == mine or b"cacheproof.harness.zygote" in command
            )
            if ours and (parent == os.getpid() or os.getsid(parent) != session):
                found.add(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found - {os.getpid()}


@pytest.fixture
def judge(chaos_servers: EmbeddedServers) -> Iterator[Judge]:
    """`judge(Cache)`: the report on one guarantee under one condition; then, that no process is left."""
    before = clients_left()

    def call(cache: Any, *, guarantee: str = "CA1", budget: int | None = None) -> Report:
        report = verify(
            cache,
            CACHE_ASIDE().only([guarantee]),
            under=[Condition.CONCURRENT],
            profile=SEARCH,
            budget=budget,
            servers=chaos_servers,
            patience_s=PATIENCE_S,
        )
        assert clients_left() <= before
        return report

    yield call
    assert clients_left() <= before


def reason(report: Report, verdict: Verdict = Verdict.UNKNOWN) -> str:
    """Why the one cell of a report has this verdict."""
    (cell,) = report.cells
    assert cell.verdict is verdict, f"{cell.verdict}: {cell.reason}"
    return cell.reason or ""


def warnings(report: Report) -> str:
    return "\n".join(report.warnings)


# -- it never returns ------------------------------------------------------------------------------------------


class Computes(CacheAside):
    def read(self, key: str) -> str | None:
        while True:
            pass


class SleepsInC(CacheAside):
    def read(self, key: str) -> str | None:
        ctypes.CDLL(None).sleep(1000)
        return None


class WaitsForItself(CacheAside):
    def read(self, key: str) -> str | None:
        lock = threading.Lock()
        with lock, lock:
            return None


class Elsewhere(CacheAside):
    """Waits for an answer from somebody who never gives one."""

    address = ("127.0.0.1", 0)

    def read(self, key: str) -> str | None:
        with socket.create_connection(self.address) as line:
            return line.recv(1).decode()


class ConstructedForEver(CacheAside):
    def __init__(self, env: Any) -> None:
        super().__init__(env)
        threading.Event().wait()


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(Elsewhere, "address", listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_busy_loop_is_shown_with_its_stack(judge: Judge) -> None:
    """After the patience of the harness, and not once for every schedule: two such runs are enough."""
    report = judge(Computes)
    told = reason(report)
    assert "read user:1 on A has not come back for 0.3 real seconds and asks no server" in told
    assert "let it end" in told and "in read" in told and "in _perform" not in told
    assert report.schedules == 2


@pytest.mark.parametrize("cache", [SleepsInC, WaitsForItself])
def test_a_wait_for_nothing_is_shown_with_its_stack(judge: Judge, cache: Any) -> None:
    """Nobody is there who could end it, so there is no need to wait and see."""
    told = reason(judge(cache))
    assert "read user:1 on A never returns" in told
    assert "it waits for something that is not on the wire" in told and "in read" in told


def test_a_wait_for_a_stranger_names_the_stranger(judge: Judge, silent_server: str) -> None:
    """The address is known from the client's open connections."""
    told = reason(judge(Elsewhere))
    assert f"A connects to {silent_server}, around the wire" in told
    assert f"it waits for {silent_server}, which is not on the wire" in told and "in read" in told


def test_a_constructor_that_never_returns(judge: Judge) -> None:
    """What it does before its first operation counts as well."""
    told = reason(judge(ConstructedForEver))
    assert "the constructor of the cache does not return on A" in told and "in __init__" in told


# -- it raises, or ends its process ----------------------------------------------------------------------------


class Unconstructed(CacheAside):
    def __init__(self, env: Any) -> None:
        raise ValueError("no password")


class StartsOnce(CacheAside):
    """Refuses to start a second time, so only a fault brings it out."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        if self.redis.incr(f"starts:{env.client}") > 1:
            raise RuntimeError("somebody else is here")


class NeverReads(CacheAside):
    def read(self, key: str) -> str | None:
        raise KeyError("boom")


class SometimesReads(CacheAside):
    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.reads = 0

    def read(self, key: str) -> str | None:
        self.reads += 1
        if self.reads % 2 == 0:
            raise RuntimeError("every second time")
        return super().read(key)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class RaisesTheUnspeakable(CacheAside):
    def read(self, key: str) -> str | None:
        raise Unspeakable


class Exits(CacheAside):
    def read(self, key: str) -> str | None:
        raise SystemExit("enough")


class Interrupts(CacheAside):
    def read(self, key: str) -> str | None:
        raise KeyboardInterrupt


class ExitsAtOnce(CacheAside):
    def read(self, key: str) -> str | None:
        os._exit(7)


class Segfaults(CacheAside):
    def read(self, key: str) -> str | None:
        return str(ctypes.string_at(0))


class LeavesAChild(CacheAside):
    """Its process forks another one, which would live on."""

    def read(self, key: str) -> str | None:
        if os.fork() == 0:
            while True:
                ctypes.CDLL(None).pause()
        return super().read(key)


def test_a_constructor_that_raises(judge: Judge) -> None:
    """The error, where it was raised, and what a constructor is given; five runs are enough."""
    report = judge(Unconstructed)
    told = reason(report)
    assert "the cache cannot be constructed: ValueError: no password, on A" in told
    assert "test_bad_caches.py:" in told and "in __init__" in told and "redis_url" in told
    assert report.schedules == 5


def test_a_constructor_that_raises_after_a_fault(chaos_servers: EmbeddedServers) -> None:
    """A client that does not come up again fails its operations, as anybody's would, and the run goes on."""
    decisions = (Invoke(0, "read", "user:1"), Crash(0), Restart(0))
    with World(StartsOnce, chaos_servers) as world:
        run = Runner(world).replay(Schedule(Scenario(clients=1), decisions))
    assert run.problem is None
    last = run.history.operations[-1]
    assert last.outcome is Outcome.FAIL
    assert last.error == "the cache cannot be constructed: RuntimeError: somebody else is here"


def test_reads_that_always_raise(judge: Judge) -> None:
    """Nothing is judged, so nothing is upheld; the error is named, and that no fault was the reason."""
    report = judge(NeverReads)
    told = reason(report, Verdict.NOT_EXERCISED)
    assert "there was nothing to judge" in told and "KeyError: 'boom'" in told
    assert "operations failed although nothing was broken" in warnings(report)


def test_reads_that_sometimes_raise(judge: Judge) -> None:
    """The other reads are judged, and the failures are told."""
    report = judge(SometimesReads)
    assert reason(report, Verdict.UPHELD) == ""
    assert "RuntimeError: every second time" in warnings(report)


def test_an_error_without_words(judge: Judge) -> None:
    """An exception that cannot be printed is an exception like any other."""
    told = reason(judge(RaisesTheUnspeakable), Verdict.NOT_EXERCISED)
    assert "Unspeakable: (its text cannot be had: RuntimeError)" in told


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        (Exits, "the process ended itself: SystemExit: enough"),
        (Interrupts, "the process ended itself: KeyboardInterrupt"),
        (ExitsAtOnce, "the process ended itself, with exit code 7"),
        (Segfaults, "the process died by Segmentation fault (signal 11)"),
    ],
)
def test_an_operation_that_ends_its_process(judge: Judge, cache: Any, words: str) -> None:
    """It is the death of one client, told with its cause, and the search goes on."""
    report = judge(cache)
    assert words in reason(report, Verdict.NOT_EXERCISED)
    assert words in warnings(report)
    assert report.schedules > 5


def test_a_segfault_is_shown_with_its_stack(judge: Judge) -> None:
    """Python's own handler writes it, to the log of the clients."""
    assert "the cache prints; its first words were 'Fatal Python error: Segmentation fault'" in warnings(
        judge(Segfaults)
    )


def test_what_a_client_forked_goes_with_it(judge: Judge) -> None:
    """A child of a client that ends is ended by whoever has become its parent."""
    judge(LeavesAChild)


# -- it prints -------------------------------------------------------------------------------------------------


class Prints(CacheAside):
    def read(self, key: str) -> str | None:
        print("reading", key, end="")
        os.write(1, b" ... and from C\n")
        os.write(2, b"a complaint\n")
        return super().read(key)


class PrintsNothing(CacheAside):
    def read(self, key: str) -> str | None:
        print()
        return super().read(key)


def test_what_a_cache_prints_stays_in_the_harness(judge: Judge, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of it reaches the terminal; a warning quotes its first words, and the verdict is as it was."""
    report = judge(Prints)
    assert reason(report, Verdict.UPHELD) == ""
    assert "the cache prints; its first words were 'reading user:1 ... and from C'" in warnings(report)
    assert capfd.readouterr() == ("", "")


def test_blank_lines_are_no_words(judge: Judge) -> None:
    """A cache that prints nothing but line ends has said nothing."""
    assert judge(PrintsNothing).warnings == ()


# -- it leaks connections --------------------------------------------------------------------------------------


class Leaks(CacheAside):
    """Opens connections for every operation, and closes none."""

    each = 11

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.env = env
        self.opened: list[Any] = []

    def read(self, key: str) -> str | None:
        for _ in range(self.each):
            self.opened.append(redis.Redis.from_url(self.env.redis_url))
            self.opened[-1].connection_pool.get_connection()
            self.opened.append(psycopg.connect(self.env.database_url, autocommit=True))
        return super().read(key)


class Floods(Leaks):
    """The same, and each of them is used, so that the servers have it as well."""

    each = 1

    def read(self, key: str) -> str | None:
        for _ in range(32):
            super().read(key)
            self.opened[-2].get(key)
            self.opened[-1].execute("select 1")
        return super().read(key)


def test_a_few_leaked_connections_are_a_warning(judge: Judge) -> None:
    """The servers last, run after run, and the reader is told."""
    report = judge(Leaks, budget=0)
    assert reason(report, Verdict.UPHELD) == ""
    assert "leaks connections: one client held" in warnings(report) and "close each" in warnings(report)


def test_too_many_leaked_connections_are_a_reason(judge: Judge) -> None:
    """Long before the servers have none left, and the next cache finds them as they were."""
    told = reason(judge(Floods))
    assert "the cache leaks connections" in told and "of them of A; close each" in told
    assert reason(judge(CacheAside), Verdict.UPHELD) == ""


# -- chance and time that the run does not control -------------------------------------------------------------


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def nanoseconds_by_c() -> int:
    now = Timespec()
    ctypes.CDLL(None).clock_gettime(0, ctypes.byref(now))
    return int(now.nanoseconds)


class RealChance(CacheAside):
    def read(self, key: str) -> str | None:
        with open("/dev/urandom", "rb") as source:
            self.redis.get(f"chance:{source.read(8).hex()}")
        return super().read(key)


class RealTime(CacheAside):
    def read(self, key: str) -> str | None:
        self.redis.get(f"time:{nanoseconds_by_c()}")
        return super().read(key)


class RealTimeInValues(CacheAside):
    def read(self, key: str) -> str | None:
        return f"{super().read(key)} at {nanoseconds_by_c()}"


class ServerTime(CacheAside):
    expression = "now()"

    def read(self, key: str) -> str | None:
        row = self.db.execute(f"select ({self.expression})::text").fetchone()
        self.redis.set("last", row[0] if row else "")
        return super().read(key)


class ServerChance(ServerTime):
    expression = "gen_random_uuid()"


class TransactionNumber(ServerTime):
    expression = "txid_current()"


UNCONTROLLED = [RealChance, RealTime, RealTimeInValues, ServerTime, ServerChance, TransactionNumber]


@pytest.mark.parametrize("cache", UNCONTROLLED)
def test_real_chance_and_time_make_no_verdict(judge: Judge, cache: Any) -> None:
    """A guarantee that is kept is not upheld: a schedule gave two histories, and the first difference is shown."""
    report = judge(cache)
    told = reason(report)
    assert "gave two histories" in told or "replays gave the same history" in told
    assert "the first difference is in event" in told
    assert "keeps state" not in warnings(report)


def test_real_chance_is_no_false_alarm(judge: Judge) -> None:
    """A guarantee that is broken is not refuted either, for its counterexample cannot be replayed."""
    told = reason(judge(RealChance, guarantee="CA4"))
    assert "the first difference is in event" in told


# -- what it keeps outside its instance ------------------------------------------------------------------------

_kept: dict[str, str | None] = {}
_numbers = {"calls": 0}
_notes = os.path.join(tempfile.gettempdir(), f"cacheproof-test-notes-{os.getpid()}")


class KeepsInModule(CacheAside):
    def read(self, key: str) -> str | None:
        if key not in _kept:
            _kept[key] = super().read(key)
        return _kept[key]


class KeepsInClass(CacheAside):
    calls = 0

    def read(self, key: str) -> str | None:
        KeepsInClass.calls += 1
        self.redis.get(f"call:{KeepsInClass.calls}")
        return super().read(key)


@functools.lru_cache
def _answer(key: str) -> list[str | None]:
    return []


class KeepsInFunction(CacheAside):
    def read(self, key: str) -> str | None:
        answers = _answer(key)
        if not answers:
            answers.append(super().read(key))
        return answers[0]


class KeepsInFile(CacheAside):
    def read(self, key: str) -> str | None:
        with open(_notes, "a+") as notes:
            notes.seek(0)
            if not notes.read():
                self.redis.get("nobody has been here before")
            notes.write(key)
        return super().read(key)


@pytest.mark.parametrize("cache", [KeepsInModule, KeepsInClass, KeepsInFunction])
def test_state_outside_the_instance_costs_new_processes(judge: Judge, cache: Any) -> None:
    """It is detected, told, and kept from passing from run to run: the verdict is a real one."""
    report = judge(cache)
    assert reason(report, Verdict.UPHELD) == ""
    assert "the cache keeps state outside its instance" in warnings(report)
    assert "every run now gets new processes, which is slower" in warnings(report)


def test_state_outside_the_instance_does_not_hide_a_broken_promise(judge: Judge) -> None:
    """A second process with a dictionary of its own never hears of a write."""
    report = judge(KeepsInModule, guarantee="CA4")
    assert reason(report, Verdict.REFUTED) == ""
    assert report.counterexamples[0].replayed == report.counterexamples[0].replays


def test_state_outside_the_process_makes_no_verdict(judge: Judge) -> None:
    """New processes do not help where a file is kept, so the verdict is unknown, with the likely causes."""
    try:
        told = reason(judge(KeepsInFile))
    finally:
        os.unlink(_notes)
    assert "gave two histories" in told and "outside its process" in told and "a file" in told


def test_state_in_the_instance_is_nobodys_business(judge: Judge) -> None:
    """Each run has instances of its own: no warning, and processes are kept."""
    assert judge(CacheAside).warnings == ()


# -- around the wire -------------------------------------------------------------------------------------------


class Phones(CacheAside):
    """A short call to another server, in every read."""

    def read(self, key: str) -> str | None:
        socket.create_connection(Elsewhere.address).close()
        return super().read(key)


class StraightToTheCache(CacheAside):
    path = ""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.redis = redis.Redis(unix_socket_path=self.path, decode_responses=True)


class StraightToTheDatabase(CacheAside):
    url = ""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.db.close()
        self.db = psycopg.connect(self.url, autocommit=True)


def test_a_connection_to_another_server_makes_no_verdict(judge: Judge, silent_server: str) -> None:
    """However short, it is heard of, and named."""
    told = reason(judge(Phones))
    assert f"A connects to {silent_server}, around the wire" in told
    assert "connect to env.redis_url and env.database_url alone" in told


def test_a_way_straight_to_the_cache_server_is_seen(
    judge: Judge, chaos_servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket can be found by anybody who looks for it; what goes through it is not judged."""
    monkeypatch.setattr(StraightToTheCache, "path", str(chaos_servers.cache.address))
    told = reason(judge(StraightToTheCache))
    folder = os.path.dirname(str(chaos_servers.cache.address))
    assert f"A connects to {folder}/socket" in told and "around the wire" in told


def test_a_way_straight_to_the_database_is_seen(
    judge: Judge, chaos_servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is C that connects: its open connections are looked at from outside."""
    path = str(chaos_servers.database.address)
    url = f"postgresql://{USER}@/{DATABASE}?host={os.path.dirname(path)}&port={PORT}"
    monkeypatch.setattr(StraightToTheDatabase, "url", url)
    assert f"connects to {path}, around the wire" in reason(judge(StraightToTheDatabase))


# -- the wrong types -------------------------------------------------------------------------------------------


class Bytes(CacheAside):
    def read(self, key: str) -> Any:
        return b"v1"


class List(CacheAside):
    def read(self, key: str) -> Any:
        return ["v1"]


class Mock(CacheAside):
    def read(self, key: str) -> Any:
        return MagicMock()


class NotANumber(CacheAside):
    def read(self, key: str) -> Any:
        return float("nan")


class Shy:
    def __repr__(self) -> str:
        raise RuntimeError("not now")


class Unshowable(CacheAside):
    def read(self, key: str) -> Any:
        return Shy()


class AwaitsTooLittle(CacheAside):
    async def read(self, key: str) -> Any:  # type: ignore[override]
        async def later() -> str:
            return "v1"

        return later()


class Huge(CacheAside):
    def read(self, key: str) -> str:
        return "x" * 200_000


class NoWrite:
    def __init__(self, env: Any) -> None:
        self.cache = CacheAside(env)

    def read(self, key: str) -> str | None:
        return self.cache.read(key)


class WriteIsNoMethod(NoWrite):
    write = "write"


class WriteTellsMore(CacheAside):
    def write(self, key: str, value: str) -> Any:
        super().write(key, value)
        return {"rows": [1]}


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        (Bytes, ("read returned b'v1' of type bytes", "decode_responses=True")),
        (List, ("read returned ['v1'] of type list", "a cache returns a str, a number or None")),
        (Mock, ("read returned <MagicMock", "of type MagicMock", "return the value alone")),
        (NotANumber, ("read returned nan of type float",)),
        (Unshowable, ("read returned something whose repr raises RuntimeError, of type Shy",)),
        (AwaitsTooLittle, ("of type coroutine", "await it inside read")),
        (Huge, ("a value of 200", "the limit is", "test with smaller ones")),
        (NoWrite, ("write is needed, and NoWrite has no such method", "define write(self, key, value)")),
        (WriteIsNoMethod, ("WriteIsNoMethod has 'write' in its place", "define write(self, key, value)")),
    ],
)
def test_a_wrong_type_is_named_with_what_to_do(judge: Judge, cache: Any, words: tuple[str, ...]) -> None:
    """The method, what was found, and what to return instead."""
    told = reason(judge(cache))
    assert [word for word in words if word not in told] == []


def test_what_a_write_returns_is_its_own_business(judge: Judge) -> None:
    """Many return a count, or themselves."""
    assert reason(judge(WriteTellsMore), Verdict.UPHELD) == ""


# -- no cache at all -------------------------------------------------------------------------------------------


class TakesNothing:
    pass


class TakesTwo:
    def __init__(self, redis_url: str, database_url: str) -> None:
        raise AssertionError


@pytest.mark.parametrize("cache", [TakesNothing, TakesTwo])
def test_a_cache_that_takes_no_environment(judge: Judge, cache: Any) -> None:
    """It is said before anything is started."""
    with pytest.raises(UsageError, match=r"cannot be called with one argument .*def __init__\(self, env\)"):
        judge(cache)


def test_a_cache_that_cannot_be_called(judge: Judge) -> None:
    """An instance, a module, a name: not the class."""
    with pytest.raises(UsageError, match="'UserCache' cannot be called; pass the class"):
        judge("UserCache")
