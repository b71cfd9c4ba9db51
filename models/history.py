"""A history: everything that was observed in one run, in order.

On disk it is JSON Lines (jsonl.py).  The same history always has the same bytes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cacheproof.models.event import Committed, Entered, Event, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.jsonl import Head, event_to_dict, read_lines
from cacheproof.models.operation import Operation, Outcome, Value

__all__ = ["History"]


@dataclass(frozen=True)
class History:
    """Frozen record of one run.

    `initial` is the value of every record before the run.  `events` are in index order.
    """

    initial: Mapping[str, Value]
    events: tuple[Event, ...] = ()
    processes: int = 0
    workers: tuple[int, ...] = field(default=())

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation, in order of invocation.  One that never returned is `info`."""
        return tuple(_pair(self.events))

    @cached_property
    def commits(self) -> Mapping[str, tuple[Committed, ...]]:
        """The versions of each record that became visible after the start, in commit order."""
        found: dict[str, list[Committed]] = {key: [] for key in self.initial}
        for event in self.events:
            if isinstance(event, Committed):
                found.setdefault(event.key, []).append(event)
        return {key: tuple(items) for key, items in found.items()}

    @cached_property
    def exchanges(self) -> tuple[Exchanged, ...]:
        return tuple(event for event in self.events if isinstance(event, Exchanged))

    @cached_property
    def faults(self) -> tuple[Faulted, ...]:
        return tuple(event for event in self.events if isinstance(event, Faulted))

    def on_key(self, key: str) -> tuple[Operation, ...]:
        """The operations on one key, in order of invocation."""
        return self._by_key.get(key, ())

    @property
    def on_no_key(self) -> tuple[Operation, ...]:
        """The operations that were called without a key, in order of invocation: on several, or on none."""
        return self._by_key.get(None, ())

    @cached_property
    def derived(self) -> dict[str, Any]:
        """What others have worked out from this history once for all, by name; no part of its value."""
        return {}

    @cached_property
    def _by_key(self) -> Mapping[str | None, tuple[Operation, ...]]:
        found: dict[str | None, list[Operation]] = {}
        for operation in self.operations:
            found.setdefault(operation.key, []).append(operation)
        return {key: tuple(items) for key, items in found.items()}

    def phase_start(self, phase: Phase) -> int | None:
        """The index at which the epilogue entered `phase` for the first time."""
        for event in self.events:
            if isinstance(event, Entered) and event.phase is phase:
                return event.index
        return None

    def to_jsonl(self) -> str:
        """The history as JSON Lines, always the same bytes for the same history."""
        head = Head(self.initial, self.processes, self.workers)
        lines = [head.to_dict(), *(event_to_dict(event) for event in self.events)]
        return "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)

    @classmethod
    def from_jsonl(cls, source: str | Iterable[str]) -> "History":
        """Read what `to_jsonl` wrote, from one text or from its lines as they come.

        Raises Malformed, with line and column, for the first line that is not as jsonl.py says.
        """
        # splitlines() would also split inside JSON strings
        lines = source.removesuffix("\n").split("\n") if isinstance(source, str) else source
        head, events = read_lines(lines)
        return cls(head.initial, events, head.processes, head.workers)


def _pair(events: tuple[Event, ...]) -> Iterator[Operation]:
    """Pair invocations with returns, in order of invocation."""
    returns: dict[int, Returned] = {}
    last: dict[int, int] = {}
    for event in events:
        if isinstance(event, Invoked):
            last[event.process] = event.index
        elif isinstance(event, Returned) and event.process in last:
            returns[last.pop(event.process)] = event
    for event in events:
        if isinstance(event, Invoked):
            yield _operation(event, returns.get(event.index))


def _operation(call: Invoked, end: Returned | None) -> Operation:
    outcome = Outcome.INFO if end is None else end.outcome
    # What a write or a delete returns (a count, perhaps) is not what it wrote.
    reads = outcome is Outcome.OK and call.value is None and call.f not in ("write", "delete", "increment")
    settled = end if outcome is not Outcome.INFO else None
    return Operation(
        process=call.process,
        f=call.f,
        key=call.key,
        value=end.value if reads and end is not None else call.value,
        invoked=call.index,
        returned=settled.index if settled else None,
        outcome=outcome,
        invoked_s=call.at_s,
        returned_s=settled.at_s if settled else None,
        error=end.error if end else None,
        final=call.final,
        result=end.value if end is not None and outcome is Outcome.OK else None,
    )
