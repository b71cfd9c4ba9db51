"""The stale set, from every side: always found, minimised to the textbook form, and replayed exactly.

The textbook form (anomaly 1): one reader, interrupted once by a whole write.

    A: |--GET--SELECT---------------------SET--|
    B:                 |--UPDATE--DEL--|
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.evidence import Candidate
from cacheproof.harness.profiles import Profile
from cacheproof.harness.proof import prove, shows
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.store import FailureStore
from cacheproof.harness.strategies.machine import search
from cacheproof.harness.verify import verify
from cacheproof.harness.world import World
from cacheproof.models.anomalies import classify
from cacheproof.models.contract import Condition, Guarantee
from cacheproof.models.decision import Deliver, Invoke
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.report import Counterexample
from cacheproof.models.schedule import Scenario, Schedule
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside

TEXTBOOK = (
    Invoke(0, "read", "user:1"),
    Deliver(0),
    Deliver(0),
    Invoke(1, "write", "user:1"),
    Deliver(1),
    Deliver(1),
    Deliver(0),
)
FRESH = Guarantee("CA4", "after a write is acknowledged, the next read sees it", ReadAfterWrite())
EXHAUSTIVE_ONLY = Profile(
    "exhaustive only", ("1 reader × 1 writer",), scope_limit=100, random=0, confirmations=2
)


class Found(Exception):
    """Ends a search at the first stale set."""


@pytest.fixture(scope="module")
def runner(chaos_servers: EmbeddedServers) -> Iterator[Runner]:
    with World(CacheAside, chaos_servers) as world:
        yield Runner(world)


def first_by_hypothesis(runner: Runner, number: int) -> Candidate:
    """The first run with a stale set that Hypothesis comes up with from this seed."""
    seen: list[Run] = []

    def judge(run: Run) -> None:
        seen.append(run)
        findings = FRESH.property.check(run.history).findings
        if findings and classify(findings[0], run.history).slug == "stale-set":
            raise Found

    scenarios = [Scenario(clients=2), Scenario(clients=3), Scenario(clients=2, keys=("user:1", "user:2"))]
    with pytest.raises(Found):
        search(runner, Condition.CONCURRENT, scenarios, judge, examples=300, number=number)
    finding = FRESH.property.check(seen[-1].history).findings[0]
    return Candidate(seen[-1], finding, "stale-set", "Hypothesis", len(seen))


def test_exhaustive_search_always_finds_it(chaos_servers: EmbeddedServers) -> None:
    """Among the 10 schedules of one reader and one writer, whatever the seed, in its minimal form."""
    for seed in (0, 1, 2):
        report = verify(
            CacheAside,
            CACHE_ASIDE().only(["CA4"]),
            under=[Condition.CONCURRENT],
            profile=EXHAUSTIVE_ONLY,
            seed=seed,
            servers=chaos_servers,
        )
        assert [(scope.schedules, scope.complete) for scope in report.scopes] == [(10, True)]
        found = report.cell("CA4", Condition.CONCURRENT).counterexample
        assert found is not None and found.anomaly == "stale-set"
        assert found.schedule.decisions == TEXTBOOK


@pytest.mark.parametrize("number", [1, 2, 3])
def test_hypothesis_finds_it_and_it_is_minimised(runner: Runner, number: int) -> None:
    """Within 300 schedules, and to the textbook form within 60 replays (benchmarks/search.py: 20 seeds)."""
    candidate = first_by_hypothesis(runner, number)
    proof = prove(runner, FRESH, candidate, confirmations=2, budget=60)
    assert isinstance(proof, Counterexample)
    assert proof.minimal and proof.shrink_replays <= 60
    assert proof.schedule.decisions == TEXTBOOK
    assert proof.finding.culprit is not None and proof.finding.culprit.final


def test_replays_are_byte_identical(runner: Runner) -> None:
    """Fifty replays of the textbook form: one history, down to the byte, in new processes and in kept ones."""
    schedule = Schedule(Scenario(probes_s=(0.0, 300.001)), TEXTBOOK)
    histories = {runner.replay(schedule, anew=number % 5 == 0).history.to_jsonl() for number in range(50)}
    assert len(histories) == 1
    run = runner.replay(schedule)
    assert run.problem is None and shows(FRESH, run.history, "stale-set") is not None


def test_another_process_gives_the_same_history(
    runner: Runner, chaos_servers: EmbeddedServers, tmp_path: Path
) -> None:
    """`cacheproof replay` in an interpreter of its own, on servers of its own, with another hash seed."""
    store = FailureStore(tmp_path)
    report = verify(
        CacheAside,
        CACHE_ASIDE().only(["CA4"]),
        under=[Condition.CONCURRENT],
        profile=EXHAUSTIVE_ONLY,
        servers=chaos_servers,
        store=store,
    )
    found = report.cell("CA4", Condition.CONCURRENT).counterexample
    assert found is not None and found.replay_command is not None
    *_, path = found.replay_command.split()
    command = [sys.executable, "-m", "cacheproof.harness.cli", "replay", path, "--history"]
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        assert done.returncode == 1, done.stderr
        assert done.stdout == found.history.to_jsonl()
