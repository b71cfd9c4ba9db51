"""Reads a history from a drawing.

One line a client, a column an instant:

    A: |--w1--|      |-r2-|       client A writes v1, then reads v2
    B:    |----w2@b----?          client B's write of v2 to key b ended `info`: it may still take effect
    C: |-w3-!   |-d-|  |-R-|      C's write failed, C deletes the record, C's final read found no record
    db:      1       2            versions v1 and v2 of the default key were committed here
    db@b:        2                and here v2 of key b
    s:  0         10              from this column on the virtual time is 10 s
    quiet:              *         the run came to rest

`r`, `w` and `d` read, write and delete; `R` is a final read; any other method is written `<name>`, with its
value behind it.  A number n stands for the value "vn", nothing for None.  The default key is "k", with "v0"
before the run.  What shares a column is concurrent: first come invocations, then commits, then returns.
"""

import re
from collections.abc import Mapping

from cacheproof.models.event import Committed, Entered, Event, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome, Value

__all__ = ["draw"]

_CALL = re.compile(r"\|-*(<\w+>|[rwdR])(\d*)(?:@(\w+))?-*([|?!])")
_FUNCTIONS = {"r": "read", "R": "read", "w": "write", "d": "delete"}
_OUTCOMES = {"|": Outcome.OK, "?": Outcome.INFO, "!": Outcome.FAIL}
_Marks = list[tuple[int, int, Event]]


def draw(text: str, initial: Mapping[str, Value] | None = None) -> History:
    """The history that a drawing shows.  Raises ValueError for what it cannot read."""
    marks: _Marks = []
    times = [(0, 0.0)]
    processes = 0
    for line in filter(str.strip, text.splitlines()):
        head, _, body = line.partition(":")
        name, _, key = head.strip().partition("@")
        body = " " * (len(head) + 1) + body
        if name == "s":
            times += [(found.start(), float(found[0])) for found in re.finditer(r"[\d.]+", body)]
        elif name == "db":
            marks += [
                (found.start(), 1, _commit(key or "k", found[0])) for found in re.finditer(r"\S+", body)
            ]
        elif name == "quiet":
            marks.append((body.index("*"), 1, Entered(0, 0.0, Phase.QUIESCE)))
        else:
            processes = max(processes, ord(name) - ord("A") + 1)
            marks += _calls(ord(name) - ord("A"), body)
    marks.sort(key=lambda mark: mark[:2])
    return History(dict(initial or {"k": "v0"}), tuple(_stamped(marks, times)), processes)


def _value(digits: str) -> Value:
    return f"v{digits}" if digits else None


def _commit(key: str, token: str) -> Event:
    return Committed(0, 0.0, key, None if token == "x" else _value(token), 0)


def _calls(process: int, body: str) -> _Marks:
    if rest := _CALL.sub("", body).strip():
        raise ValueError(f"cannot read {rest!r} in the line of client {process}")
    marks: _Marks = []
    for found in _CALL.finditer(body):
        letter, digits, key, end = found.groups()
        f, outcome = _FUNCTIONS.get(letter, letter.strip("<>")), _OUTCOMES[end]
        asked = None if f == "read" else _value(digits)
        answer = _value(digits) if f == "read" and outcome is Outcome.OK else asked
        call = Invoked(0, 0.0, process, f, key or "k", asked, final=letter == "R")
        marks.append((found.start(), 0, call))
        marks.append((found.end() - 1, 2, Returned(0, 0.0, process, outcome, answer)))
    return marks


def _stamped(marks: _Marks, times: list[tuple[int, float]]) -> list[Event]:
    """The events with their index, their virtual time, and their version where they are commits."""
    events: list[Event] = []
    versions: dict[str, int] = {}
    for index, (column, _, event) in enumerate(marks):
        fields = {name: getattr(event, name) for name in event.__dataclass_fields__}
        fields |= {"index": index, "at_s": max(t for t in times if t[0] <= column)[1]}
        if isinstance(event, Committed):
            fields["version"] = versions[event.key] = versions.get(event.key, 0) + 1
        events.append(type(event)(**fields))
    return events
