"""A recorded history, in whatever format it comes: which one it is, and what can be read from it.

    json-lines    {"type":"run","format":1,…            ours (jsonl.py)
    jepsen-log    INFO  jepsen.util - 0 :invoke …       Jepsen's text log (jepsen_log.py)
    edn           {:process 0, :type :invoke, …         EDN, one map a line (edn_history.py)

The first line that is not blank (nor a comment of EDN) decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from cacheproof.models.edn_history import read_edn
from cacheproof.models.errors import UsageError
from cacheproof.models.history import History
from cacheproof.models.jepsen import JepsenHistory
from cacheproof.models.jepsen_log import is_log_line, read_log
from cacheproof.models.malformed import Malformed

__all__ = ["Format", "Recording", "read_recording", "recognise"]


class Format(StrEnum):
    """How a history is written down."""

    JSON_LINES = "json-lines"
    JEPSEN_LOG = "jepsen-log"
    EDN = "edn"


@dataclass(frozen=True, slots=True)
class Recording:
    """What was read.  `model` names the model that the operations are of; None for a history of ours, which
    the properties judge."""

    format: Format
    history: History
    model: str | None = None


def read_recording(lines: Iterable[str]) -> Recording:
    """Read a history from its lines (each with or without its line feed).

    Raises Malformed for the first line that cannot be read, UsageError if there is nothing to read.
    """
    head: list[str] = []
    lines = iter(lines)
    for line in lines:
        head.append(line)
        if _tells(line):
            return _read(recognise(line, len(head)), chain(head, lines))
    raise UsageError("nothing is recorded here; expected a history, one event a line")


def recognise(line: str, number: int = 1) -> Format:
    """The format of the file whose first telling line this is.  Raises Malformed if it is of none."""
    text = line.lstrip()
    if text.startswith("{") and text[1:].lstrip().startswith('"'):
        return Format.JSON_LINES
    if text.startswith(("{", "#")):
        return Format.EDN
    if is_log_line(text):
        return Format.JEPSEN_LOG
    what = f"{text.rstrip()[:60]!r} begins no format that can be read"
    expected = """expected {"type":"run",…}, {:process …} or 'INFO  jepsen.util - …'"""
    raise Malformed(number, 1, f"{what}; {expected}")


def _tells(line: str) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith(";")


def _read(format: Format, lines: Iterable[str]) -> Recording:
    if format is Format.JSON_LINES:
        return Recording(format, History.from_jsonl(lines))
    found: JepsenHistory = read_log(lines) if format is Format.JEPSEN_LOG else read_edn(lines)
    if found.vocabulary is None:
        raise UsageError("no operation is recorded here; expected at least one :invoke")
    return Recording(format, found.history(), found.vocabulary.model)
