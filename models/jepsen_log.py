"""Jepsen's text log: the operations on one register, one event a line.

    INFO  jepsen.util - 0	:invoke	:write	3
    INFO  jepsen.util - 0	:ok	:write	3
    INFO  jepsen.util - 1	:invoke	:cas	[3 4]
    INFO  jepsen.util - 1	:fail	:cas	[3 4]        completed, and asserts that the state was not 3
    INFO  jepsen.util - 2	:info	:write	:timed-out   outcome unknown

Rule 1. The logger `jepsen.util` writes operations and nothing else; what cannot be read of it is an error.
        Newer logs say the same as "2024-05-24 13:36:56,498{GMT} INFO [jepsen worker 0] jepsen.util: …".
Rule 2. Lines of other loggers are passed over, and so is what follows them without a logger (stack traces).
        Blank lines and what the nemesis did are passed over too.
Rule 3. There are no keys: the register is called "register", and holds nothing at first.  There are no times:
        `at_s` is 0.0 throughout.

What the operations mean: jepsen.py.
"""

import re
from collections.abc import Iterable

from cacheproof.models.edn import read_form
from cacheproof.models.jepsen import Happening, JepsenHistory
from cacheproof.models.malformed import Malformed

__all__ = ["KEY", "is_log_line", "read_log"]

KEY = "register"

_LEVEL = r"(?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL)"
_HEADER = re.compile(
    rf"{_LEVEL}\s+(?P<logger>[\w.$-]+)\s+-(?:\s|$)"
    r"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.]\d+(?:\{\w+\})?\s+"
    rf"{_LEVEL}\s+\[.*?\]\s+(?P<newer>[\w.$-]+):(?:\s|$)"
)
_LOGGER = "jepsen.util"
_NEMESIS = re.compile(r"\s*:nemesis\s")
_PARTS = (
    ("process", "the number of a process", re.compile(r"\s*(\d{1,9})(?=\s)", re.ASCII)),
    ("type", ":invoke, :ok, :fail or :info", re.compile(r"\s+:(invoke|ok|fail|info)(?=\s)")),
    ("f", "a function such as :read", re.compile(r"\s+:([\w-]+)(?=\s)")),
    ("value", "a value, or nil", re.compile(r"\s+(?=(\S))")),
)
"""What an operation consists of, in order: its name, what is expected there, and how it looks."""


def is_log_line(line: str) -> bool:
    """True for a line that begins as a log line does, whichever the logger."""
    return _HEADER.match(line) is not None


def read_log(lines: Iterable[str]) -> JepsenHistory:
    """The operations in the lines of a log.  Raises Malformed for the first line that breaks a rule."""
    found = JepsenHistory(asserts=True)
    foreign = False
    for number, line in enumerate(lines, start=1):
        header = _HEADER.match(line)
        if header is None:
            if line.strip() and not foreign:
                raise Malformed(
                    number, 1, f"{line.strip()[:60]!r} is no line of a log; expected 'INFO  {_LOGGER} - …'"
                )
            continue
        foreign = (header["logger"] or header["newer"]) != _LOGGER
        if not foreign and not _NEMESIS.match(line, header.end()):
            found.take(_happening(number, line, header.end()))
    return found


def _happening(number: int, line: str, start: int) -> Happening:
    found: dict[str, re.Match[str]] = {}
    for name, expected, pattern in _PARTS:
        match = pattern.match(line, start)
        if match is None:
            raise _misfit(number, line, start, expected)
        found[name] = match
        start = match.end()
    placed = read_form(line, number, start)
    if placed is None:
        raise _misfit(number, line, start, _PARTS[-1][1])
    return Happening(
        line=number,
        columns={name: match.start(1) + 1 for name, match in found.items()} | {"error": placed.end + 1},
        process=int(found["process"][1]),
        type=found["type"][1],
        f=found["f"][1],
        key=KEY,
        value=placed.form,
        error=line[placed.end :].strip() or None,
    )


def _misfit(number: int, line: str, start: int, expected: str) -> Malformed:
    rest = line[start:].strip()
    column = line.index(rest, start) + 1 if rest else len(line.rstrip()) + 1
    what = f"{rest[:60]!r} stands here" if rest else "nothing stands here"
    return Malformed(number, column, f"{what}; expected {expected}")
