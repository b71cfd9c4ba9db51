"""A schedule: a scenario and the decisions taken in it.  JSON on disk, and it replays exactly.

The scenario fixes everything that is not a decision: how many clients and workers there are, the records in
the database at the start, the seed of chance in the clients, and when the epilogue reads.

Values are named by the run: the records start as v1, v2, … in the order of `keys`, and each write invoked
takes the next number.  So every value is unique, and a schedule stays meaningful when decisions are removed.
In a run of numbers the records start as 0, and a write takes the next number itself.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from math import inf
from typing import Any

from cacheproof.models.decision import Decision, decision_from_dict, decision_to_dict
from cacheproof.models.errors import UsageError
from cacheproof.models.operation import Value
from cacheproof.models.workload import READ_AND_WRITE, check_operations

__all__ = ["SCHEDULE_FORMAT", "Keeps", "Scenario", "Schedule"]

SCHEDULE_FORMAT = 1

_POLICIES = ("allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction") + tuple(
    f"volatile-{how}" for how in ("lru", "lfu", "random", "ttl")
)


class Keeps(StrEnum):
    """What a cache has besides its memory."""

    NOTHING = "nothing"
    SNAPSHOTS = "snapshots"
    """Snapshots, each older than what has been written since (`save`)."""
    EVERYSEC = "everysec"
    """An append-only file, forced to the disk once a second."""
    ALWAYS = "always"
    """An append-only file, forced to the disk before each reply."""
    REPLICA = "replica"
    """A replica, to which writes are sent after they have been acknowledged."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is there before the first decision.

    `clients` are numbered 0 … clients-1, `workers` follow them; a worker is a client on which only the
    operation "work" is invoked, and it is invoked before the first decision.  `probes_s` are the virtual
    seconds after quiescence at which the epilogue reads every key.  `seed` seeds chance inside the clients.
    `keeps` is what the cache has besides its memory; `policy` its `maxmemory-policy`, which says what may be
    evicted.  `operations` are what clients do, a strategy's choice and the epilogue's: it reads only where
    "read" is one of them.  With `numbers` the records are whole numbers, in the database as decimal text.
    """

    clients: int = 2
    workers: int = 0
    keys: tuple[str, ...] = ("user:1",)
    probes_s: tuple[float, ...] = (0.0,)
    seed: int = 0
    keeps: Keeps = Keeps.NOTHING
    policy: str = "allkeys-lru"
    operations: tuple[str, ...] = READ_AND_WRITE
    numbers: bool = False

    @property
    def processes(self) -> int:
        """Clients and workers together."""
        return self.clients + self.workers

    def is_worker(self, process: int) -> bool:
        return process >= self.clients

    def initial_values(self) -> dict[str, Value]:
        """The value of each record before the run; what the column of the database holds is its text."""
        return {key: self.new_value(number) for number, key in enumerate(self.keys, start=1)}

    def new_value(self, number: int) -> Value:
        """The value of that number: the initial ones have the first, writes those that follow."""
        if not self.numbers:
            return f"v{number}"
        return 0 if number <= len(self.keys) else number


@dataclass(frozen=True, slots=True)
class Schedule:
    """A scenario and a sequence of decisions."""

    scenario: Scenario = field(default_factory=Scenario)
    decisions: tuple[Decision, ...] = ()

    def with_decisions(self, decisions: Iterable[Decision]) -> "Schedule":
        return replace(self, decisions=tuple(decisions))

    def to_dict(self) -> dict[str, Any]:
        scenario = {item.name: getattr(self.scenario, item.name) for item in fields(self.scenario)}
        for name in (
            "keeps",
            "policy",
            "operations",
            "numbers",
        ):  # rarely anything but what they are by default
            if scenario[name] == getattr(Scenario(), name):
                del scenario[name]
        return {
            "format": SCHEDULE_FORMAT,
            "scenario": {name: list(v) if isinstance(v, tuple) else v for name, v in scenario.items()},
            "decisions": [decision_to_dict(decision) for decision in self.decisions],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Any) -> "Schedule":
        """Read what `to_dict` wrote; raises UsageError for anything else."""
        if not isinstance(data, dict) or data.get("format") != SCHEDULE_FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise UsageError(f"not a schedule of format {SCHEDULE_FORMAT}: found {found!r}")
        if not isinstance(data.get("decisions"), list):
            raise UsageError("a schedule needs a list 'decisions'")
        return cls(
            scenario=_read_scenario(data.get("scenario")),
            decisions=tuple(decision_from_dict(item) for item in data["decisions"]),
        )

    @classmethod
    def from_json(cls, text: str) -> "Schedule":
        try:
            data = json.loads(text)
        except ValueError as error:
            raise UsageError(f"a schedule is JSON, but this is not: {error}") from None
        return cls.from_dict(data)


def _read_scenario(data: Any) -> Scenario:
    if not isinstance(data, dict):
        raise UsageError("a schedule needs an object 'scenario'")
    known = {item.name for item in fields(Scenario)}
    if unknown := sorted(set(data) - known):
        raise UsageError(f"scenario has unknown fields {unknown}; it takes {sorted(known)}")
    for name in ("clients", "workers", "seed"):
        value = data.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UsageError(f"scenario: {name} is {value!r}; expected a whole number, 0 or more")
    keys, probes = data.get("keys", ["user:1"]), data.get("probes_s", [0.0])
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise UsageError(f"scenario: keys is {keys!r}; expected a list of one or more strings")
    if len(set(keys)) < len(keys):
        raise UsageError(f"scenario: keys {keys!r} repeat")
    if not isinstance(probes, list) or not all(_is_seconds(item) for item in probes):
        raise UsageError(f"scenario: probes_s is {probes!r}; expected a list of seconds, 0 or more")
    if (keeps := data.get("keeps", Keeps.NOTHING)) not in list(Keeps):
        raise UsageError(f"scenario: keeps is {keeps!r}; expected one of {', '.join(Keeps)}")
    if (policy := data.get("policy", _POLICIES[0])) not in _POLICIES:
        raise UsageError(f"scenario: policy is {policy!r}; expected one of {', '.join(_POLICIES)}")
    if not isinstance(numbers := data.get("numbers", False), bool):
        raise UsageError(f"scenario: numbers is {numbers!r}; expected true or false")
    operations = data.get("operations", [*READ_AND_WRITE])
    if not isinstance(operations, list) or not all(isinstance(item, str) for item in operations):
        raise UsageError(f"scenario: operations is {operations!r}; expected a list of names")
    check_operations(operations, "scenario")
    data = {**data, "keeps": Keeps(keeps), "operations": tuple(operations)}
    return Scenario(**{**data, "keys": tuple(keys), "probes_s": tuple(float(item) for item in probes)})


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < inf
