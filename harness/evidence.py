"""What the runs under one condition add up to, guarantee by guarantee."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cacheproof.harness.runner import Run
from cacheproof.models.anomalies import classify
from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.decision import Fate
from cacheproof.models.event import Event, Exchanged, Faulted
from cacheproof.models.history import History
from cacheproof.models.verdict import Finding, Judgement, Verdict

__all__ = ["Candidate", "Evidence", "Tally", "fault_happened", "judge", "verdict_of"]


_MANY_CONNECTIONS = 20
_HARMLESS = {"advance", "expire", "start"}


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
    if isinstance(event, Exchanged):
        return event.fate is not Fate.DELIVERED
    return isinstance(event, Faulted) and event.fault not in _HARMLESS


def fault_happened(history: History, condition: Condition) -> bool:
    """Whether a fault of the condition touched something: an open operation, or a server already used.

    Conditions without faults are exercised by every run.
    """
    if not condition.faults:
        return True
    used = False
    for event in history.events:
        if isinstance(event, Exchanged):
            used = True
            if event.fate.value in condition.faults:
                return True
        elif isinstance(event, Faulted) and _touched(event, condition, used):
            return True
    return False


def _touched(event: Faulted, condition: Condition, used: bool) -> bool:
    """Whether a fault met an open operation, or a server (not a client) that had been used already."""
    return event.fault in condition.faults and bool(event.overlapped or (used and event.fault != "crash"))


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
    if evidence.condition.faults and not evidence.faulted:
        return f"no fault of {evidence.condition.value!r} touched an operation in {tally.schedules} schedules"
    if evidence.errors:
        error, count = max(evidence.errors.items(), key=lambda item: item[1])
        return f"there was nothing to judge; operations failed, {count} of them with {error}"
    return f"there was nothing to judge in {tally.schedules} schedules"
