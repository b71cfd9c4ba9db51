"""A history: everything that was observed in one run, in order.  JSON Lines on disk.

One event a line, in Jepsen's shape: `{"index":3,"time":0.0,"type":"invoke","process":0,"f":"read",…}` with
the types invoke, ok, fail and info for operations, and exchange, fault, commit and phase beside them.  The
first line describes the run (`"type":"run"`).  The same history always has the same bytes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import (
    Committed,
    Entered,
    Event,
    Exchanged,
    Faulted,
    Invoked,
    Phase,
    Returned,
)
from cacheproof.models.operation import Operation, Outcome, Value

__all__ = ["History"]

HISTORY_FORMAT = 1


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
        return tuple(operation for operation in self.operations if operation.key == key)

    def phase_start(self, phase: Phase) -> int | None:
        """The index at which the epilogue entered `phase` for the first time."""
        for event in self.events:
            if isinstance(event, Entered) and event.phase is phase:
                return event.index
        return None

    def to_jsonl(self) -> str:
        """The history as JSON Lines, always the same bytes for the same history."""
        head = {
            "type": "run",
            "format": HISTORY_FORMAT,
            "processes": self.processes,
            "workers": list(self.workers),
            "initial": dict(self.initial),
        }
        lines = [head, *(_event_to_dict(event) for event in self.events)]
        return "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)

    @classmethod
    def from_jsonl(cls, text: str) -> "History":
        """Read what `to_jsonl` wrote.  Raises UsageError naming the line that cannot be read."""
        lines = text.removesuffix("\n").split("\n")  # splitlines() would also split inside JSON strings
        if lines == [""]:
            raise UsageError("line 1: an empty file is not a history")
        head = _read_line(1, lines[0])
        if head.get("type") != "run" or head.get("format") != HISTORY_FORMAT:
            raise UsageError(f"line 1: expected a run of format {HISTORY_FORMAT}, found {lines[0][:80]!r}")
        events = []
        functions: dict[int, str] = {}
        for number, line in enumerate(lines[1:], start=2):
            data = _read_line(number, line)
            try:
                event = _event_from_dict(data)
            except (KeyError, TypeError, ValueError) as error:
                raise UsageError(f"line {number}: not an event ({error!r}): {line[:80]!r}") from None
            if event.index != number - 2:
                raise UsageError(f"line {number}: index is {event.index}, expected {number - 2}")
            if isinstance(event, Invoked):
                functions[event.process] = event.f
            elif isinstance(event, Returned) and functions.pop(event.process, None) is None:
                raise UsageError(f"line {number}: process {event.process} returns without an invocation")
            events.append(event)
        try:
            return cls(
                initial=dict(head["initial"]),
                events=tuple(events),
                processes=head["processes"],
                workers=tuple(head["workers"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"line 1: not a description of a run ({error!r})") from None


def _read_line(number: int, line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise UsageError(f"line {number}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"line {number}: expected an object, found {line[:80]!r}")
    return data


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
    reads = outcome is Outcome.OK and call.value is None and call.f not in ("write", "delete")
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


def _event_to_dict(event: Event) -> dict[str, Any]:
    stamp: dict[str, Any] = {"index": event.index, "time": event.at_s}
    match event:
        case Invoked():
            out = stamp | {"type": "invoke", "process": event.process, "f": event.f, "key": event.key}
            out |= {"value": event.value} | ({"final": True} if event.final else {})
        case Returned():
            out = stamp | {"type": event.outcome.value, "process": event.process, "value": event.value}
            out |= {"error": event.error} if event.error is not None else {}
        case Exchanged():
            out = stamp | {"type": "exchange", "process": event.process, "server": event.server.value}
            out |= {"verb": event.verb, "request": list(event.request), "keys": list(event.keys)}
            out |= {"reply": event.reply, "fate": event.fate.value}
            out |= {"waits": True} if event.waits else {}
            out |= {"waited": True} if event.waited else {}
        case Faulted():
            out = stamp | {"type": "fault", "fault": event.fault, "process": event.process}
            out |= {"server": event.server.value if event.server else None, "detail": event.detail}
            out |= {"overlapped": list(event.overlapped)}
        case Committed():
            out = stamp | {"type": "commit", "key": event.key, "value": event.value}
            out |= {"version": event.version, "process": event.process}
        case _:
            out = stamp | {"type": "phase", "phase": event.phase.value}
    return out


def _value(data: Any) -> Value:
    """A value as it is in memory: JSON arrays are tuples."""
    if isinstance(data, dict):
        raise ValueError(f"a value is a scalar or an array, not an object: {data!r:.60}")
    return tuple(_value(item) for item in data) if isinstance(data, list) else data


def _event_from_dict(data: dict[str, Any]) -> Event:
    index, at_s, kind = data["index"], data["time"], data["type"]
    match kind:
        case "invoke":
            final = bool(data.get("final", False))
            value = _value(data["value"])
            return Invoked(index, at_s, data["process"], data["f"], data["key"], value, final)
        case "ok" | "fail" | "info":
            value = _value(data["value"])
            return Returned(index, at_s, data["process"], Outcome(kind), value, data.get("error"))
        case "exchange":
            return Exchanged(
                index,
                at_s,
                data["process"],
                ServerName(data["server"]),
                data["verb"],
                tuple(data["request"]),
                tuple(data["keys"]),
                data["reply"],
                Fate(data["fate"]),
                bool(data.get("waits", False)),
                bool(data.get("waited", False)),
            )
        case "fault":
            server = ServerName(data["server"]) if data["server"] else None
            overlapped = tuple(data["overlapped"])
            return Faulted(index, at_s, data["fault"], data["process"], server, data["detail"], overlapped)
        case "commit":
            return Committed(index, at_s, data["key"], data["value"], data["version"], data["process"])
        case "phase":
            return Entered(index, at_s, Phase(data["phase"]))
    raise ValueError(f"unknown type {kind!r}")
