"""Replay one stored failure: the same schedule, in new processes, judged and drawn once more."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cacheproof.chaos.servers.backends import make_servers
from cacheproof.chaos.servers.servers import Servers
from cacheproof.harness.evidence import Candidate, judge
from cacheproof.harness.naming import load_cache, short_name
from cacheproof.harness.pinning import one_core
from cacheproof.harness.proof import Unproven, confirm
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.store import FailureStore, StoredFailure
from cacheproof.harness.world import World
from cacheproof.models.anomalies import classify
from cacheproof.models.contract import Condition, Guarantee
from cacheproof.models.errors import UsageError
from cacheproof.models.properties import property_from_dict
from cacheproof.models.report import Cell, Report
from cacheproof.models.verdict import Verdict

__all__ = ["replay"]


def replay(
    path: Path, *, times: int = 1, servers: Servers | None = None, make: Callable[[], Servers] = make_servers
) -> tuple[Report, Run]:
    """Replay the failure in `path` so many times; returns a report of one cell, and the first run.

    `servers` are used if given, else those that `make` makes (embedded ones) are started for this call.

    The cell is refuted if every replay shows the finding with the same history, upheld if none does (the
    cache was mended), else unknown.  Raises UsageError if the file or the cache cannot be read.
    """
    failure = FailureStore().load(path)
    if failure.judged_by is None:
        raise UsageError(f"{str(path)!r} was judged by a property of its own; replay it with its own test")
    make_cache = load_cache(failure.cache)
    guarantee = Guarantee(failure.guarantee, failure.claim, property_from_dict(failure.judged_by))
    if servers is not None:
        return _replay(make_cache, failure, guarantee, path, times, servers)
    with make() as started:
        return _replay(make_cache, failure, guarantee, path, times, started)


def _replay(
    make_cache: object,
    failure: StoredFailure,
    guarantee: Guarantee,
    path: Path,
    times: int,
    servers: Servers,
) -> tuple[Report, Run]:
    assert callable(make_cache)
    with one_core(servers), World(make_cache, servers) as world:
        runner = Runner(world)
        first = runner.replay(failure.schedule)
        cell = _cell(runner, failure, guarantee, first, times)
        if cell.counterexample is not None:
            known = replace(cell.counterexample, replay_command=f"cacheproof replay {path}")
            cell = replace(cell, counterexample=known)
        report = Report(
            cache=short_name(make_cache),
            contract=failure.contract,
            profile="replay",
            seed=failure.seed,
            cells=(cell,),
            servers={server.name.value: server.describe() for server in (servers.cache, servers.database)},
            warnings=_warnings(failure),
            schedules=runner.runs,
        )
    return report, first


def _warnings(failure: StoredFailure) -> tuple[str, ...]:
    now = os.environ.get("PYTHONHASHSEED")
    if now == failure.hash_seed:
        return ()
    return (f"found with PYTHONHASHSEED={failure.hash_seed}, replayed with {now}: orders of sets may differ",)


def _cell(runner: Runner, failure: StoredFailure, guarantee: Guarantee, first: Run, times: int) -> Cell:
    cell = Cell(
        guarantee=failure.guarantee,
        claim=failure.claim,
        condition=Condition(failure.condition),
        verdict=Verdict.UNKNOWN,
        schedules=times,
        exercised=times,
        kept=False,
    )
    if first.problem is not None:
        return replace(cell, reason=first.problem)
    findings = judge(guarantee, first.history).findings
    if not findings:
        return replace(cell, verdict=Verdict.UPHELD)
    slug = classify(findings[0], first.history).slug
    candidate = Candidate(first, findings[0], slug, "a stored failure", 1)
    outcome = confirm(runner, guarantee, candidate, failure.schedule, confirmations=times)
    if isinstance(outcome, Unproven):
        return replace(cell, reason=outcome.reason)
    return replace(cell, verdict=Verdict.REFUTED, counterexample=outcome)
