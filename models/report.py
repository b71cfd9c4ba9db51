"""What `verify` found out: a cell for each guarantee and condition, with the counterexamples.

Plain data, and all that a renderer needs: reports make words and pictures of it, and never change it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cacheproof.models.contract import Condition
from cacheproof.models.history import History
from cacheproof.models.operation import Value
from cacheproof.models.schedule import Schedule
from cacheproof.models.verdict import Finding, Verdict, merge_verdicts

__all__ = ["Cell", "Counterexample", "Report", "Scope", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What cache and database held right after the event `index`.

    `cache` maps every key that the cache held to its value in words (a string, or the type and members of a
    larger structure, such as "list [v2, v3]") and its remaining ttl in virtual seconds (None: no ttl).
    `database` maps every key of the scenario to its committed value (None: no row).
    """

    index: int
    cache: Mapping[str, tuple[str, float | None]]
    database: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Counterexample:
    """One broken promise, minimal and ready to be replayed.

    `found_by` names the strategy, `found_after` the number of schedules until it was found (1 = the first),
    `shrunk_from` the number of decisions then, `shrink_replays` what shrinking cost, `replayed` how many of
    `replays` repetitions gave a byte-identical history.  `minimal` is True when every decision was tried and
    is needed.  `snapshots` are in event order.  `replay_command` is one line to paste.
    """

    anomaly: str
    finding: Finding
    schedule: Schedule
    history: History
    snapshots: tuple[Snapshot, ...]
    found_by: str
    found_after: int
    shrunk_from: int
    shrink_replays: int
    minimal: bool
    replayed: int
    replays: int
    replay_command: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One guarantee under one condition.

    `schedules` were run under the condition, and in `exercised` of them a fault of the condition overlapped
    an operation and the property had something to judge.  `reason` says why a verdict is unknown or not
    exercised.  `kept` is what the contract says: True if it holds, False if it is claimed but broken.
    `possible` is False where the servers do not let the faults of the condition be made.
    """

    guarantee: str
    claim: str
    condition: Condition
    verdict: Verdict
    schedules: int
    exercised: int
    kept: bool
    counterexample: Counterexample | None = None
    reason: str | None = None
    others: tuple[Counterexample, ...] = ()
    possible: bool = True

    @property
    def counterexamples(self) -> tuple[Counterexample, ...]:
        """All counterexamples, the most telling one first."""
        return ((self.counterexample,) if self.counterexample else ()) + self.others


@dataclass(frozen=True, slots=True)
class Scope:
    """An exhaustive search: what was enumerated, how many schedules that took, and whether it was complete."""

    condition: Condition
    name: str
    schedules: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one `verify`.

    `servers` describes each server ("cache", "database") with the settings that matter for its promises.
    `warnings` are what the cache or its environment did that a reader of the verdicts has to know.
    """

    cache: str
    contract: str
    profile: str
    seed: int
    cells: tuple[Cell, ...]
    scopes: tuple[Scope, ...] = ()
    servers: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    schedules: int = 0
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """The verdicts of all cells, merged."""
        return merge_verdicts(cell.verdict for cell in self.cells)

    @property
    def counterexamples(self) -> tuple[Counterexample, ...]:
        return tuple(found for cell in self.cells for found in cell.counterexamples)

    def cell(self, guarantee: str, condition: Condition) -> Cell:
        """The cell of one guarantee under one condition.  Raises KeyError if it was not judged."""
        for cell in self.cells:
            if cell.guarantee == guarantee and cell.condition is condition:
                return cell
        raise KeyError((guarantee, condition.value))
