"""Every fault proves its worth: a bug that is caught because of it, and a sound cache that passes under it.

A row of the table is a schedule with a fault, a cache with a bug that only this fault brings to light, and a
sound one.  Three things are shown of it:

    with the fault       the bug breaks the property, the sound cache does not
    without the fault    the bug breaks nothing: the same decisions, every message delivered, nothing broken
    once more            in new processes the history is the same, byte for byte
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.harness.reading import is_fault
from cacheproof.harness.runner import Run
from cacheproof.models.convergence import Convergence
from cacheproof.models.decision import (
    Crash,
    Decision,
    Deliver,
    Fate,
    Flush,
    Flushed,
    InFlight,
    Manner,
    Partition,
    Start,
    Survived,
)
from cacheproof.models.durability import Durability
from cacheproof.models.fault import FAULTS
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.refusal import REFUSALS
from cacheproof.models.schedule import Keeps
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Judgement

StageFor = Callable[[Any], Any]
COMMITTED = Integrity(committed=True)
FRESH = ReadAfterWrite()
STORED = Durability()
WITHIN_10_S = BoundedStaleness(10)
CONVERGES = Convergence(None)
CONVERGES_IN_10_S = Convergence(10)
WARM = "A read, A ....,"


def _caches() -> ModuleType:
    """The caches of planted.py.  Test folders are no packages, so it is loaded from its path."""
    name = "cacheproof_tests_harness_faults_planted"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("planted.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@dataclass(frozen=True)
class Row:
    """A fault, the bug it catches, the property that the bug breaks, and the schedule.

    `bug` and `sound` name caches of planted.py; `scenario` is what is there besides two clients and one key.
    """

    fault: str
    bug: str
    sound: str
    broken: Any
    script: str
    scenario: dict[str, Any] = field(default_factory=dict)


WORKER = {"workers": 1}
ROWS: dict[str, Row] = {
    # what becomes of a message
    "an invalidation is lost": Row(
        "request-lost", "Shrugging", "Insisting", FRESH, f"{WARM} B write, B ., B lost, B ..., A read, A ..."
    ),
    "the COMMIT is lost": Row(
        "request-lost", "Assuming", "Aborting", STORED, "B write, B ..., A write, A ., A lost, A ..."
    ),
    "the reply to a pop is lost": Row(
        "reply-lost", "Popped", "PoppedSafely", STORED, "A write, A ., Q reply-lost", WORKER
    ),
    "a fill is a zombie": Row(
        "delayed",
        "Aside",
        "Fenced",
        FRESH,
        "A read, A .., A delayed, B write, B .., A arrive, B read, B ...",
    ),
    "a write is a zombie": Row(
        "arrive",
        "BlindRetry",
        "GuardedRetry",
        STORED,
        "A write, A ., A delayed, A ..., B write, B ..., A arrive, B read, B ...",
    ),
    # refusals
    "LOADING is taken for empty": Row(
        "refused",
        "FailOpenWhileLoading",
        "Insisting",
        FRESH,
        f"{WARM} B write, B ., B refused loading, B ..., A read, A ...",
    ),
    "BUSY is taken for absent": Row(
        "refused",
        "LaxGuard",
        "StrictGuard",
        FRESH,
        "A read, A .., B write, B .., A refused busy, A ., B read, B ...",
    ),
    "MOVED is not looked at": Row(
        "refused",
        "UncheckedPipeline",
        "CheckedPipeline",
        FRESH,
        f"{WARM} B write, B ., B refused moved, advance 1, B ., A read, A ...",
    ),
    "OOM leaves the old value": Row(
        "refused",
        "OomIgnored",
        "OomInvalidates",
        FRESH,
        f"{WARM} B write, B ., B refused oom, B ., A read, A ...",
    ),
    "READONLY is somebody else's business": Row(
        "refused",
        "ReadOnlyIgnored",
        "ReadOnlyRetried",
        FRESH,
        f"{WARM} B write, B ., B refused readonly, B ., A read, A ...",
    ),
    "a serialization failure is taken for success": Row(
        "refused",
        "SerializationIgnored",
        "Retrying",
        STORED,
        "A write, A refused serialization, A ..., B read, B ...",
    ),
    "a deadlock's victim is ignored": Row(
        "refused", "DeadlockIgnored", "Retrying", STORED, "A write, A refused deadlock, A ..., B read, B ..."
    ),
    "a time-out drops a change": Row(
        "refused",
        "TimeoutDropped",
        "TimeoutKept",
        STORED,
        "A write, A ., Q ., Q refused statement-timeout, Q .",
        WORKER,
    ),
    # the network
    "the cache refuses one client": Row(
        "partition",
        "Shrugging",
        "Insisting",
        FRESH,
        f"B write, B .., {WARM} partition cache B, B write, B ., A read, A ...",
    ),
    "the cache is silent to one client": Row(
        "partition",
        "Hasty",
        "Patient",
        FRESH,
        f"B write, B .., {WARM} partition cache B silent, B write, B .., advance 2, A read, A ...",
    ),
    "requests do not arrive": Row(
        "partition",
        "HastyThrough",
        "PatientThrough",
        FRESH,
        f"B write, B .., {WARM} partition cache B requests, B write, B .., advance 2, A read, A ...",
    ),
    "replies do not arrive": Row(
        "partition",
        "CacheFirst",
        "DatabaseFirst",
        COMMITTED,
        "B read, B .., partition cache B replies, B write, B .., advance 2, B ., A read, A ..",
    ),
    # clients
    "a crash before the invalidation": Row(
        "crash", "Aside", "Validated", CONVERGES, f"{WARM} B write, B ., B crash"
    ),
    "a crash whose statement runs": Row(
        "crash",
        "Aside",
        "Validated",
        CONVERGES,
        f"{WARM} B read, B ..., freeze database, B write, B ., B crash runs, thaw database",
    ),
    "a pause that is longer than the lock": Row(
        "pause",
        "OwnerlessLock",
        "FencedLock",
        FRESH,
        "A read, A ..., A pause, advance 10, B write, B ...., A resume, A .., B read, B .....",
    ),
    "a clock that is ahead": Row(
        "skew", "WallClockTtl", "ServerTtl", CONVERGES_IN_10_S, "B skew 3600, B read, B ..., A write, A ."
    ),
    # servers
    "the cache crashes before the flush": Row(
        "kill", "Popped", "Aside", STORED, "A write, A .., kill, start, B read, B ...", WORKER
    ),
    "the database crashes before the COMMIT": Row(
        "kill",
        "Assuming",
        "Aborting",
        STORED,
        "B write, B ..., A write, A ., kill database, start database, A ...",
    ),
    "a restart forgets scripts": Row(
        "kill",
        "ScriptForgotten",
        "ScriptReloaded",
        FRESH,
        f"{WARM} B read, B ., kill, start cache everything, B write, B ..., A read, A ...",
        {"keeps": Keeps.EVERYSEC},
    ),
    "a restart from a snapshot brings back what was deleted": Row(
        "kill",
        "Aside",
        "Validated",
        FRESH,
        f"{WARM} B write, B .., kill, start cache snapshot 1, A read, A ...",
        {"keeps": Keeps.SNAPSHOTS},
    ),
    "power loss takes what was not synced": Row(
        "kill",
        "Popped",
        "Aside",
        STORED,
        "A write, A .., kill, start cache synced 1, B read, B ...",
        {"keeps": Keeps.EVERYSEC, "workers": 1},
    ),
    "a frozen cache opens a breaker": Row(
        "freeze",
        "Breaker",
        "CarefulBreaker",
        FRESH,
        f"{WARM} B read, B .., freeze cache, B read, B ., advance 2, B ., thaw cache, B write, B .., A read, A ...",
    ),
    "a failover resurrects": Row(
        "failover",
        "Aside",
        "Validated",
        FRESH,
        f"{WARM} B write, B ..., failover 1, A read, A ...",
        {"keeps": Keeps.REPLICA},
    ),
    "a replica lags": Row(
        "lag",
        "ReplicaFill",
        "PrimaryFill",
        FRESH,
        "B read, B ....., evict user:1, lag, B write, B .., A read, A ...., replicate 1, A read, A ....",
    ),
    # what the cache holds
    "a dirty key expires": Row(
        "expire", "DirtyKeyWithTtl", "DirtyValue", STORED, "A write, A ., expire user:1, Q ....", WORKER
    ),
    "a slow load": Row(
        "advance",
        "Ephemeral",
        "CountedFromLoad",
        WITHIN_10_S,
        "A read, A .., B write, B ., advance 100, A ., B read, B ...",
    ),
    "a dirty key is evicted": Row(
        "evict", "DirtyKey", "DirtyValue", STORED, "A write, A ., evict user:1, Q ....", WORKER
    ),
    "a tombstone is flushed": Row(
        "flush", "Tombstoned", "LeaseHeld", FRESH, "A read, A .., B write, B .., flush, A ., B read, B ..."
    ),
    "a script is flushed": Row(
        "flush",
        "ScriptForgotten",
        "ScriptReloaded",
        FRESH,
        f"{WARM} B read, B ., flush scripts, B write, B ..., A read, A ...",
    ),
}


@pytest.fixture(scope="module", params=list(ROWS))
def row(request: pytest.FixtureRequest) -> Row:
    return ROWS[request.param]


def schedule_of(stage: Any, row: Row) -> Any:
    return stage.schedule(row.script, probes_s=row.broken.probes_s or (0.0,), **row.scenario)


def play(stage: Any, row: Row, decisions: tuple[Decision, ...] | None = None) -> Run:
    """Run those decisions of the row, or these, that are possible when their turn comes."""
    schedule = schedule_of(stage, row)
    run: Run = stage.runner.attempt(schedule.scenario, schedule.decisions if decisions is None else decisions)
    assert run.problem is None, run.problem
    return run


def judge(row: Row, run: Run) -> Judgement:
    judgement: Judgement = row.broken.check(run.history)
    assert judgement.unknown is None, judgement.unknown
    return judgement


def calm(decisions: tuple[Decision, ...]) -> Iterator[Decision]:
    """The same without any fault: what is lost, late or refused is delivered."""
    for decision in decisions:
        if isinstance(decision, Deliver):
            yield replace(decision, fate=Fate.DELIVERED, error=None)
        elif not is_fault(decision):
            yield decision


def faults_in(run: Run) -> set[str]:
    """The names of the faults that happened in the schedule, not in the epilogue."""
    made = {event.fault for event in run.history.faults}
    return made | {event.fate.value for event in run.history.exchanges}


def test_a_bug_is_caught_only_because_of_the_fault(row: Row, stage_for: StageFor) -> None:
    """With it the property is broken, without it it holds; and a replay is the same byte for byte."""
    stage = stage_for(getattr(_caches(), row.bug))
    run = play(stage, row)
    assert row.fault in faults_in(run)
    assert judge(row, run).findings, "\n".join(stage.dialogue(run.history, epilogue=True))
    for _ in range(2):
        again = stage.runner.replay(run.schedule)
        assert again.problem is None and again.history.to_jsonl() == run.history.to_jsonl()
    without = play(stage, row, tuple(calm(schedule_of(stage, row).decisions)))
    judged = judge(row, without)
    assert not judged.findings and judged.judged, "\n".join(stage.dialogue(without.history, epilogue=True))


def test_a_sound_cache_passes_under_the_fault(row: Row, stage_for: StageFor) -> None:
    """The same fault strikes, and there was something to judge."""
    stage = stage_for(getattr(_caches(), row.sound))
    run = play(stage, row)
    judged = judge(row, run)
    assert row.fault in faults_in(run)
    assert not judged.findings and judged.judged, "\n".join(stage.dialogue(run.history, epilogue=True))


def test_every_fault_has_a_bug(decisions: Callable[..., Any]) -> None:
    """Of the catalogue, all but what mends; and every kind of refusal, partition, survival and flush."""
    scripted = [decision for row in ROWS.values() for decision in decisions(row.script)]
    assert {row.fault for row in ROWS.values()} == {name for name, item in FAULTS.items() if not item.mends}
    assert {item.error for item in scripted if isinstance(item, Deliver)} == {None, *REFUSALS}
    assert {item.manner for item in scripted if isinstance(item, Partition)} == set(Manner)
    assert {item.what for item in scripted if isinstance(item, Flush)} == set(Flushed)
    assert {item.in_flight for item in scripted if isinstance(item, Crash)} == set(InFlight)
    survived = {item.survived for item in scripted if isinstance(item, Start)}
    assert survived | {Survived.NOTHING} == {None, *Survived}  # nothing is what survives by itself
