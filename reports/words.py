"""Plain words for the small things of a history: values, clients, calls, outcomes, faults, phases.

Rules, kept by every renderer that uses this module:

1. Nothing that a cache stores can change the layout: control, format and unassigned characters are shown as
   escapes (`\\x1b`), and width is measured in terminal cells, never in characters.
2. Wide text is shortened with "…" rather than broken; only sentences are wrapped.
3. Every function is total: an unknown fault or a value of an unexpected type gets generic words.
"""

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, chop_cells

from cacheproof.models.decision import InFlight
from cacheproof.models.event import Faulted, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.workload import Takes, kind_of

__all__ = [
    "PHASE_NOTES",
    "Names",
    "call_words",
    "counted",
    "fault_words",
    "listing",
    "names_of",
    "outcome_words",
    "plain",
    "seconds_words",
    "shorten",
    "show",
    "wrap",
]

VALUE_CELLS = 32
"""A value in a sentence or a lane is cut at this width: enough to recognise it."""

ERROR_CELLS = 60

SEVERAL_CELLS = 48
"""Several keys, with their values or without, are cut at this width."""

PHASE_NOTES: Mapping[Phase, str] = {
    Phase.HEAL: "what was broken is mended",
    Phase.DRAIN: "what is open goes on to its end",
    Phase.QUIESCE: "workers finish what is left to do",
    Phase.READ: "everything is quiet now",
}

_ESCAPED = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


@dataclass(frozen=True, slots=True)
class Names:
    """What the processes of a run are called: clients by letter, workers by number."""

    workers: tuple[int, ...] = ()

    def client(self, process: int) -> str:
        """ "A" for process 0, "client 27" beyond the alphabet, "worker 1" for the first worker."""
        if process in self.workers:
            return f"worker {self.workers.index(process) + 1}"
        return chr(ord("A") + process) if 0 <= process < 26 else f"client {process}"

    def lane(self, process: int) -> str:
        """The title of its lane: "client A", "worker 1"."""
        name = self.client(process)
        return f"client {name}" if len(name) == 1 else name


def names_of(history: History) -> Names:
    return Names(workers=history.workers)


def plain(text: object) -> str:
    """`text` with every character that could disturb a terminal written as an escape."""
    return "".join(_escape(char) if _disturbs(char) else char for char in str(text))


def _disturbs(char: str) -> bool:
    # Variation selectors change the width of the character before them, and not on every terminal.
    # A blank that is no space looks like one and is not equal to one.
    blank = char.isspace() and char != " "
    return blank or unicodedata.category(char) in _ESCAPED or ord(char) in _VARIATION_SELECTORS


def _escape(char: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    code = ord(char)
    return named.get(char) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def shorten(text: str, cells: int) -> str:
    """The longest beginning of `text` that fits in `cells` terminal cells, with "…" if something is missing."""
    if cell_len(text) <= cells:
        return text
    if cells < 1:
        return ""
    kept = text[
        :cells
    ]  # no character is narrower than a cell, save combining ones: good enough to start from
    while kept and cell_len(kept) > cells - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def show(value: Any, cells: int = VALUE_CELLS) -> str:
    """A value in words: strings as they are, what is no scalar as JSON, None as "no record"."""
    if value is None:
        return "no record"
    if isinstance(value, str):
        bare = value and value == value.strip()
        return shorten(plain(value if bare else repr(value)), cells)
    return shorten(plain(json.dumps(value, ensure_ascii=False, default=str)), cells)


def seconds_words(seconds: object) -> str:
    """ "300 s", "0.05 s", "24 h" for whole hours; a thing that is no number as it is."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        return plain(seconds)
    if seconds and not seconds % 3600:
        return f"{seconds / 3600:,.0f} h"
    return f"{seconds:,.0f} s" if not seconds % 1 or abs(seconds) >= 1000 else f"{seconds:.4g} s"


def counted(number: int, noun: str) -> str:
    """ "1 schedule", "2,000 schedules"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listing(items: Iterable[str]) -> str:
    """ "A", "A and B", "A, B and C"."""
    *head, last = list(items) or [""]
    return f"{', '.join(head)} and {last}" if head else last


def wrap(text: str, width: int) -> Iterator[str]:
    """`text` in lines of at most `width` cells, broken at blanks; a longer word is broken inside."""
    line = ""
    for word in text.split():
        if line and cell_len(f"{line} {word}") > width:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
        if cell_len(line) > width:
            *full, line = chop_cells(line, max(width, 2))
            yield from full
    if line:
        yield line


def call_words(event: Invoked) -> str:
    """ "read user:1", "write user:1 := v2", "increment user:1 by 1", "read_many user:1, user:2", "work"."""
    name = " ".join([plain(event.f), *([plain(event.key)] if event.key is not None else [])])
    if event.value is None:
        return name
    match kind_of(event.f).takes:
        case Takes.AMOUNT:
            return f"{name} by {show(event.value)}"
        case Takes.KEYS | Takes.PAIRS if isinstance(event.value, tuple):
            return f"{name} {_several(event.value, ':=')}"
    return f"{name} := {show(event.value)}"


def _several(items: tuple[Value, ...], sign: str) -> str:
    """Keys, "user:1, user:2", or pairs, "user:1 := v3, user:2 := v4"."""
    told = (f" {sign} ".join(map(show, item)) if isinstance(item, tuple) else show(item) for item in items)
    return shorten(", ".join(told), SEVERAL_CELLS)


def outcome_words(event: Returned, call: Invoked | None = None) -> str:
    """ "ok v1", "ok" (also for a write that returns what it wrote), "ok: no record", "failed: …"."""
    if event.outcome is Outcome.OK:
        told = _RETURNED.get(call.f) if call is not None else None
        if told is not None:
            return told(event.value)
        if event.value is not None and (call is None or event.value != call.value):
            return f"ok {show(event.value)}"
        return "ok"
    name = "failed" if event.outcome is Outcome.FAIL else "outcome unknown"
    return f"{name}: {shorten(plain(event.error), ERROR_CELLS)}" if event.error else name


def _found(value: Value) -> str:
    return "ok: no record" if value is None else f"ok {show(value)}"


def _counted_to(value: Value) -> str:
    return "ok" if value is None else f"ok {show(value)}"


def _all_found(value: Value) -> str:
    return f"ok {_several(value, '=')}" if isinstance(value, tuple) and value else "ok: no record"


def _acquired(value: Value) -> str:
    if value is None or isinstance(value, bool):
        return "ok: not acquired" if value is False else "ok: acquired"
    return f"ok: acquired, {show(value)}"


def _released(value: Value) -> str:
    return "ok: nothing to release" if value is False else "ok"


_RETURNED: Mapping[str, Callable[[Value], str]] = {
    "acquire": _acquired,
    "increment": _counted_to,
    "read": _found,
    "read_many": _all_found,
    "release": _released,
}
"""What the results of some operations mean."""


def fault_words(event: Faulted) -> str:
    """What happened, seen from the lane that it happened in: "✕ crashes", "⏱ 300 s pass"."""
    words = _FAULT_WORDS.get(event.fault)
    if words is not None:
        return words(event)
    detail = "" if event.detail is None else f" {show(event.detail)}"
    return f"✕ {plain(event.fault)}{detail}"


def _crash(event: Faulted) -> str:
    runs = event.detail == InFlight.RUNS.value
    return "✕ crashes; its statement still runs" if runs else "✕ crashes"


def _start(event: Faulted) -> str:
    if event.server != "cache":
        return "↻ starts, and recovers"
    if event.detail is None:
        return "↻ starts, empty"
    survived, _, behind = str(event.detail).partition(", ")
    kept = _SURVIVED.get(survived, plain(survived))
    return f"↻ starts, {kept}{' but for ' + _writes(behind.split()[0]) if behind else ''}"


def _failover(event: Faulted) -> str:
    lacks = f", without {_writes(event.detail)}" if event.detail else ""
    return f"✕ fails over to its replica{lacks}"


def _writes(count: object) -> str:
    return "the last write" if str(count) == "1" else f"the last {plain(count)} writes"


def _partition(event: Faulted) -> str:
    how = _MANNERS.get(str(event.detail), plain(event.detail))
    return f"✕ {how}" if event.process is None else f"✕ the {plain(event.server)} {how}"


def _skew(event: Faulted) -> str:
    seconds = event.detail if isinstance(event.detail, (int, float)) else 0.0
    return f"⏱ its wall clock jumps {seconds_words(abs(seconds))} {'ahead' if seconds > 0 else 'back'}"


def _flush(event: Faulted) -> str:
    return "✕ forgets its scripts" if event.detail == "scripts" else "✕ is flushed"


_SURVIVED: Mapping[str, str] = {
    "everything": "with all it held",
    "synced": "with what was on the disk",
    "snapshot": "from its snapshot",
    "nothing": "empty",
}
_MANNERS: Mapping[str, str] = {
    "refuse": "refuses connections",
    "silent": "is out of reach",
    "requests": "receives nothing",
    "replies": "is not heard any more",
}
_FAULT_WORDS: Mapping[str, Callable[[Faulted], str]] = {
    "advance": lambda event: f"⏱ {seconds_words(event.detail)} pass",
    "arrive": lambda event: f"⇠ its delayed {plain(event.detail)} arrives",
    "crash": _crash,
    "evict": lambda event: f"✕ {plain(event.detail)} is evicted",
    "expire": lambda event: f"⏱ {plain(event.detail)} expires",
    "failover": _failover,
    "flush": _flush,
    "freeze": lambda event: "✕ freezes",
    "heal": lambda event: (
        "↻ can be reached again" if event.process is None else f"↻ the {event.server} is back"
    ),
    "kill": lambda event: "✕ is killed",
    "lag": lambda event: "✕ its replica falls behind",
    "partition": _partition,
    "pause": lambda event: "✕ pauses",
    "replicate": lambda event: "↻ its replica catches up",
    "restart": lambda event: "↻ starts anew",
    "resume": lambda event: "↻ goes on",
    "skew": _skew,
    "start": _start,
    "thaw": lambda event: "↻ goes on",
}
