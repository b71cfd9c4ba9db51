"""What the runs under one condition add up to, guarantee by guarantee."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cacheproof.harness.runner import Run
from cacheproof.models.anomalies import classify
from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Entered, Event, Exchanged, Faulted, Invoked
from cacheproof.models.fault import FAULTS
from cacheproof.models.history import History
from cacheproof.models.trace import is_on_replica
from cacheproof.models.verdict import Finding, Judgement, Verdict

__all__ = ["Candidate", "Evidence", "Tally", "fault_happened", "judge", "verdict_of"]


_MANY_CONNECTIONS = 20
_EXCUSES_NOTHING = frozenset(
    {"advance", "arrive", "evict", "expire", "lag", "skew"}
    | {name for name, fault in FAULTS.items() if fault.mends}
)
"""Faults after which operations should go on as if nothing had been: they break no connection and refuse nothing."""

_OF_CLIENTS = frozenset({"crash", "pause", "skew"})

_MENDED_BY: Mapping[str, str | None] = {
    "freeze": "thaw",
    "kill": "start",
    "lag": "replicate",
    "partition": "heal",
    "skew": None,
}
"""Faults that go on, and what ends them (None: nothing does)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that broke a guarantee, before it is minimised.  `found_after` counts from 1."""

    run: Run
    finding: Finding
    slug: str
    found_by: str
    found_after: int


@dataclass(slots=True)
class Tally:
    """One guarantee under one condition: counts, and the first run for each anomaly that was seen."""

    schedules: int = 0
    exercised: int = 0
    candidates: dict[str, Candidate] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Evidence:
    """Everything that the runs under one condition showed."""

    contract: Contract
    condition: Condition
    tallies: dict[str, Tally] = field(default_factory=dict)
    runs: int = 0
    problems: list[str] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    printed: str = ""
    connections: int = 0
    faulted: int = 0
    unsteady: bool = False
    """Whether the same choices have led to different places."""
    doubt: str | None = None
    """Why nothing can be said, whatever the runs showed: they cannot be repeated, or are not seen whole."""
    impossible: str | None = None
    """Why no fault of the condition can happen here, whatever is tried."""
    bypassed: bool = False
    """Whether a client has connected to somebody around the wire."""
    calm: dict[str, int] = field(default_factory=dict)
    """Errors of operations in runs in which nothing was broken."""

    @property
    def guarantees(self) -> Sequence[Guarantee]:
        return [item for item in self.contract.guarantees if self.condition in item.claimed]

    def add(self, run: Run, found_by: str) -> None:
        """Judge one run against every guarantee of the condition."""
        self.runs += 1
        self.printed = self.printed or run.output.strip()
        self.connections = max(self.connections, run.connections)
        if run.problem is not None:
            self.problems.append(run.problem)
            return
        calm = not any(_broken(event) for event in run.history.events)
        for operation in run.history.operations:
            if operation.error is not None:
                for errors in (self.errors, self.calm) if calm else (self.errors,):
                    errors[operation.error] = errors.get(operation.error, 0) + 1
        happened = fault_happened(run.history, self.condition)
        self.faulted += happened
        for guarantee in self.guarantees:
            self._count(self.tallies.setdefault(guarantee.id, Tally()), guarantee, run, happened, found_by)

    def warnings(self) -> list[str]:
        """What the cache did beside its promises that a reader of the verdicts has to know."""
        told = []
        if self.printed:
            told.append(f"the cache prints; its first words were {self.printed.splitlines()[0][:200]!r}")
        if self.connections > _MANY_CONNECTIONS:
            told.append(
                f"leaks connections: one client held {self.connections} of them at the end of a run; close each when "
                "it is done, or open one for each server and keep it"
            )
        if self.calm:
            error, count = max(self.calm.items(), key=lambda item: item[1])
            told.append(
                f"operations failed although nothing was broken ({self.condition.value}): {sum(self.calm.values())} "
                f"in {self.runs} schedules, {count} of them with {error}"
            )
        return told

    def _count(self, tally: Tally, guarantee: Guarantee, run: Run, happened: bool, found_by: str) -> None:
        judgement = judge(guarantee, run.history)
        tally.schedules += 1
        tally.exercised += happened and judgement.judged > 0
        if judgement.unknown is not None:
            tally.doubts.append(judgement.unknown)
        for finding in judgement.findings:
            slug = classify(finding, run.history).slug
            if slug not in tally.candidates:
                tally.candidates[slug] = Candidate(run, finding, slug, found_by, self.runs)


def judge(guarantee: Guarantee, history: History) -> Judgement:
    """What the property of a guarantee says; a property that raises yields unknown, never a pass."""
    try:
        return guarantee.property.check(history)
    except Exception as error:
        return Judgement(unknown=f"the check of {guarantee.id} raised {error!r}")


def _broken(event: Event) -> bool:
    """Whether something happened after which an operation may fail, and its cache be none the worse for it."""
    if isinstance(event, Exchanged):
        return event.fate is not Fate.DELIVERED
    return isinstance(event, Faulted) and event.fault not in _EXCUSES_NOTHING


def fault_happened(history: History, condition: Condition) -> bool:
    """Whether a fault of the condition met something: see `_touched`.  The epilogue proves nothing.

    Conditions without faults are exercised by every run.
    """
    if not condition.faults:
        return True
    seen = _Seen()
    for event in history.events:
        if isinstance(event, Entered):
            return False
        if isinstance(event, Faulted) and _counts(event.fault, condition):
            if _touched(event, seen):
                return True
            seen.lasting.append(event)
        elif isinstance(event, Exchanged):
            if event.fate.value in condition.faults or (seen.lags and is_on_replica(event)):
                return True
            seen.used.add(event.server)
        elif isinstance(event, Invoked) and any(_lasts_for(fault, event.process) for fault in seen.lasting):
            return True
        elif isinstance(event, Faulted):
            seen.mend(event.fault)
    return False


@dataclass(slots=True)
class _Seen:
    """What a history has shown so far: servers that were used, and faults that go on until they are mended."""

    used: set[ServerName] = field(default_factory=set)
    lasting: list[Faulted] = field(default_factory=list)

    @property
    def lags(self) -> bool:
        return any(item.fault == "lag" for item in self.lasting)

    def mend(self, fault: str) -> None:
        self.lasting = [item for item in self.lasting if _MENDED_BY.get(item.fault) != fault]


def _counts(fault: str, condition: Condition) -> bool:
    known = FAULTS.get(fault)
    return known is not None and condition in known.conditions and not known.mends


def _touched(event: Faulted, seen: _Seen) -> bool:
    """Whether a fault met something at once.

    One of a client: an operation of that client.  One of a server, or of what the cache holds: an open
    operation, or a server that had been used already.  A replica that lags has to be asked.
    """
    if event.fault == "lag":
        return False
    if event.process is not None:
        return event.process in event.overlapped
    if event.fault in _OF_CLIENTS:
        return bool(event.overlapped)
    used = seen.used if event.server is None else seen.used & {event.server}
    return bool(event.overlapped or used)


def _lasts_for(fault: Faulted, process: int) -> bool:
    """Whether a fault that goes on is in the way of an operation that begins now."""
    return fault.fault in _MENDED_BY.keys() - {"lag"} and fault.process in (None, process)


def verdict_of(tally: Tally, evidence: Evidence) -> tuple[Verdict, str | None]:
    """(verdict, reason) of a guarantee that no confirmed counterexample refutes."""
    if evidence.doubt is not None:
        return Verdict.UNKNOWN, evidence.doubt
    if evidence.problems:
        count = len(evidence.problems)
        return Verdict.UNKNOWN, f"in {count} of {evidence.runs} schedules: {evidence.problems[0]}"
    if tally.doubts:
        return Verdict.UNKNOWN, f"in {len(tally.doubts)} of {tally.schedules} schedules: {tally.doubts[0]}"
    if tally.exercised:
        return Verdict.UPHELD, None
    return Verdict.NOT_EXERCISED, _why_not_exercised(tally, evidence)


def _why_not_exercised(tally: Tally, evidence: Evidence) -> str:
    if evidence.impossible is not None:
        return evidence.impossible
    if evidence.condition.faults and not evidence.faulted:
        return f"no fault of {evidence.condition.value!r} touched an operation in {tally.schedules} schedules"
    if evidence.errors:
        error, count = max(evidence.errors.items(), key=lambda item: item[1])
        return f"there was nothing to judge; operations failed, {count} of them with {error}"
    return f"there was nothing to judge in {tally.schedules} schedules"
