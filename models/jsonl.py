"""A history on disk: JSON Lines in Jepsen's shape, the run in the first line and then one event a line.

    {"type":"run","format":1,"processes":2,"workers":[],"initial":{"user:1":"v1"}}
    {"index":0,"time":0.0,"type":"invoke","process":0,"f":"read","key":"user:1","value":null}
    {"index":1,"time":0.0,"type":"ok","process":0,"value":"v1"}

Rule 1. Every field has its type; a whole number is no true and no 1.0.  None may be missing, save those that
        are written only when they say something (`final`, `error`, `waits`, `waited`).
Rule 2. `index` counts the lines after the first from 0.  A process has one operation open at a time, and only
        what was invoked returns.  Blank lines and fields that occur twice are errors.
Rule 3. Fields that are not known are passed over: what would change the meaning of the others comes with a
        new number of the format.  `f` and `key` may be repeated where an operation returns, if they are the same.
Rule 4. Whatever breaks a rule is Malformed, with its line and column.  Nothing is guessed.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

from cacheproof.models.decision import Fate, ServerName
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
from cacheproof.models.malformed import Malformed
from cacheproof.models.operation import Outcome, Value

__all__ = ["HISTORY_FORMAT", "EventReader", "Head", "event_to_dict", "read_lines"]

HISTORY_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Head:
    """The first line: the value of every record before the run, the number of processes, and the workers."""

    initial: Mapping[str, Value]
    processes: int
    workers: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": "run",
            "format": HISTORY_FORMAT,
            "processes": self.processes,
            "workers": list(self.workers),
            "initial": dict(self.initial),
        }


def read_lines(lines: Iterable[str]) -> tuple[Head, tuple[Event, ...]]:
    """The run and its events.  Raises Malformed for the first line that breaks a rule."""
    lines = iter(lines)
    first = next(lines, "")
    if not first.strip():
        raise Malformed(1, 1, f"nothing stands here; expected a run of format {HISTORY_FORMAT}")
    head = _head(_Line(1, first))
    return head, tuple(map(EventReader().read, lines))


def event_to_dict(event: Event) -> dict[str, Any]:
    """An event as JSON values, its fields in a fixed order."""
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


class _Line:
    """One line: an object, with ways to get at its fields that say where one is wrong."""

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text
        try:
            self.data = _DECODER.decode(text)
        except json.JSONDecodeError as error:
            what = (
                "nothing stands here; expected an event"
                if not text.strip()
                else f"not JSON: {error.msg.lower()}"
            )
            raise Malformed(number, min(error.pos, len(text.rstrip())) + 1, what) from None
        except _Twice as error:
            place = text.rfind(json.dumps(error.name, ensure_ascii=False))
            raise Malformed(number, max(place, 0) + 1, str(error)) from None
        except (RecursionError, ValueError) as error:
            raise Malformed(number, 1, f"not JSON that can be read: {error}") from None
        if not isinstance(self.data, dict):
            raise Malformed(number, 1, f"expected an object, found {text.strip()[:60]!r}")

    def read(self, name: str, kind: "_Kind") -> Any:
        """The value of a field, as it is in memory.  Raises Malformed if it is missing or of another kind."""
        if name not in self.data:
            raise Malformed(self.number, 1, f"{name!r} is missing; expected {kind.expected}")
        value = self.data[name]
        try:
            return kind.read(value)
        except (ArithmeticError, RecursionError, TypeError, ValueError):
            raise self.malformed(name, f"{name!r} is {value!r:.60}; expected {kind.expected}") from None

    def read_if_there(self, name: str, kind: "_Kind", default: Any) -> Any:
        return self.read(name, kind) if name in self.data else default

    def malformed(self, name: str, what: str) -> Malformed:
        return Malformed(self.number, dict(_columns(self.text))[name], what)


class _Twice(Exception):
    """A field occurs twice in an object."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} occurs twice; expected it once")
        self.name = name


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for place, name in enumerate(names) if name in names[:place]))
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_FIELD_NAME = re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*')


def _columns(text: str) -> Iterator[tuple[str, int]]:
    """The fields of the object in `text`, and where the value of each begins (from 1)."""
    decoder = json.JSONDecoder()
    place = text.index("{") + 1
    while found := _FIELD_NAME.match(text, place):
        yield json.loads(found[1]), found.end() + 1
        place = decoder.raw_decode(text, found.end())[1]


# What a field may hold


@dataclass(frozen=True, slots=True)
class _Kind:
    """A type of fields: in words, and as a function that returns the value as it is in memory, or raises
    ArithmeticError, RecursionError, TypeError or ValueError."""

    expected: str
    read: Callable[[Any], Any]


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value):
        raise ValueError
    return float(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _value(value: Any) -> Value:
    """A value as it is in memory: JSON arrays are tuples."""
    if type(value) is list:
        return tuple(_value(item) for item in value)
    if type(value) is dict:
        raise TypeError
    scalar: Value = value
    return scalar


def _detail(value: Any) -> str | float:
    return _text(value) if type(value) is str else _seconds(value)


def _anything(value: Any) -> Any:
    return value


def _initial(value: Any) -> Mapping[str, Value]:
    if type(value) is not dict:
        raise TypeError
    return {name: _value(item) for name, item in value.items()}


def _each(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_all(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise TypeError
        return tuple(read(item) for item in value)

    return read_all


def _or_null(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _one_of(names: type[StrEnum]) -> str:
    return " or ".join(repr(item.value) for item in names)


_ANYTHING = _Kind("a JSON value", _anything)
_COUNT = _Kind("a whole number of at least 0", _whole)
_COUNTS = _Kind("an array of whole numbers of at least 0", _each(_whole))
_DETAIL = _Kind("a string, a number or null", _or_null(_detail))
_FATE = _Kind(_one_of(Fate), Fate)
_FLAG = _Kind("true or false", _flag)
_INITIAL = _Kind("an object of keys and their values", _initial)
_OWNER = _Kind("a whole number of at least 0, or null", _or_null(_whole))
_PHASE = _Kind(_one_of(Phase), Phase)
_SECONDS = _Kind("a finite number of seconds", _seconds)
_SERVER = _Kind(_one_of(ServerName), ServerName)
_SERVER_OR_NULL = _Kind(f"{_one_of(ServerName)} or null", _or_null(ServerName))
_TEXT = _Kind("a string", _text)
_TEXT_OR_NULL = _Kind("a string or null", _or_null(_text))
_TEXTS = _Kind("an array of strings", _each(_text))
_VALUE = _Kind("null, a scalar or an array of these", _value)

# Lines


def _head(line: _Line) -> Head:
    if line.data.get("type") != "run" or line.read("format", _COUNT) != HISTORY_FORMAT:
        found = f"found {line.text.strip()[:80]!r}"
        raise Malformed(line.number, 1, f"expected a run of format {HISTORY_FORMAT}, {found}")
    return Head(line.read("initial", _INITIAL), line.read("processes", _COUNT), line.read("workers", _COUNTS))


class EventReader:
    """Reads the lines behind the first, one by one: what one line begins, a later one has to end.

    `index` is that of the next event, which stands in line `index` + 2.  `calls` are the invocations that are
    open by then, by process, each with its line.
    """

    def __init__(self, index: int = 0, calls: Mapping[int, tuple[int, Invoked]] | None = None) -> None:
        self._index = index
        self._calls = dict(calls or {})

    def read(self, text: str) -> Event:
        """The event in the next line.  Raises Malformed if it breaks a rule."""
        line = _Line(self._index + 2, text)
        index, at_s = line.read("index", _COUNT), line.read("time", _SECONDS)
        if index != self._index:
            raise line.malformed("index", f"'index' is {index}; expected {self._index}")
        make = _MAKERS.get(line.read("type", _TEXT))
        if make is None:
            what = f"'type' is {line.data['type']!r:.60}; expected {' or '.join(map(repr, _MAKERS))}"
            raise line.malformed("type", what)
        event = make(line, index, at_s)
        if isinstance(event, Invoked):
            _begin(line, event, self._calls)
        elif isinstance(event, Returned):
            _end(line, event, self._calls)
        self._index += 1
        return event


def _begin(line: _Line, call: Invoked, calls: dict[int, tuple[int, Invoked]]) -> None:
    if call.process in calls:
        number, begun = calls[call.process]
        what = f"process {call.process} invokes while its {begun.f!r} of line {number} is open"
        raise line.malformed("process", f"{what}; expected that to return first")
    calls[call.process] = line.number, call


def _end(line: _Line, end: Returned, calls: dict[int, tuple[int, Invoked]]) -> None:
    if end.process not in calls:
        what = f"process {end.process} returns without an invocation; expected an 'invoke'"
        raise line.malformed("process", what)
    number, call = calls.pop(end.process)
    for name, was in (("f", call.f), ("key", call.key)):
        if (now := line.data.get(name, was)) != was:
            raise line.malformed(name, f"{name!r} is {now!r:.60}; expected {was!r}, invoked in line {number}")


def _invoked(line: _Line, index: int, at_s: float) -> Event:
    return Invoked(
        index,
        at_s,
        line.read("process", _COUNT),
        line.read("f", _TEXT),
        line.read("key", _TEXT_OR_NULL),
        line.read("value", _VALUE),
        line.read_if_there("final", _FLAG, False),
    )


def _returned(line: _Line, index: int, at_s: float) -> Event:
    return Returned(
        index,
        at_s,
        line.read("process", _COUNT),
        Outcome(line.data["type"]),
        line.read("value", _VALUE),
        line.read_if_there("error", _TEXT_OR_NULL, None),
    )


def _exchanged(line: _Line, index: int, at_s: float) -> Event:
    return Exchanged(
        index,
        at_s,
        line.read("process", _COUNT),
        line.read("server", _SERVER),
        line.read("verb", _TEXT),
        line.read("request", _TEXTS),
        line.read("keys", _TEXTS),
        line.read("reply", _ANYTHING),
        line.read("fate", _FATE),
        line.read_if_there("waits", _FLAG, False),
        line.read_if_there("waited", _FLAG, False),
    )


def _faulted(line: _Line, index: int, at_s: float) -> Event:
    return Faulted(
        index,
        at_s,
        line.read("fault", _TEXT),
        line.read("process", _OWNER),
        line.read("server", _SERVER_OR_NULL),
        line.read("detail", _DETAIL),
        line.read("overlapped", _COUNTS),
    )


def _committed(line: _Line, index: int, at_s: float) -> Event:
    key, value = line.read("key", _TEXT), line.read("value", _VALUE)
    return Committed(index, at_s, key, value, line.read("version", _COUNT), line.read("process", _OWNER))


def _entered(line: _Line, index: int, at_s: float) -> Event:
    return Entered(index, at_s, line.read("phase", _PHASE))


_MAKERS: Mapping[str, Callable[[_Line, int, float], Event]] = {
    "invoke": _invoked,
    "ok": _returned,
    "fail": _returned,
    "info": _returned,
    "exchange": _exchanged,
    "fault": _faulted,
    "commit": _committed,
    "phase": _entered,
}
