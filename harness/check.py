"""Checks recorded histories again: reads files, asks the questions, and says what was answered.

    format of the file      asked by default
    json-lines              every property that needs no parameter
    jepsen-log, edn         linearizable as the model of its functions (cas-register, key-value, mutex)
    json-lines, over 20 MB  linearizable alone, by columns: a million operations in seconds

Options replace what is asked by default.  Nothing is guessed and nothing hidden: a file that cannot be read
has a problem with its line and column, a question that made its checker fail is answered with unknown, and
what was not asked because a file is large is said.

Files are read here and nowhere else: everything in models takes lines.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, Self

from cacheproof.models.checked import Answer, Checked, Problem, Who
from cacheproof.models.errors import UsageError
from cacheproof.models.general import LinearizableAs
from cacheproof.models.history import History
from cacheproof.models.malformed import Malformed
from cacheproof.models.properties import PROPERTIES, property_from_dict
from cacheproof.models.recording import Format, Recording, read_recording, recognise
from cacheproof.models.specifications import specification_named
from cacheproof.models.verdict import Judgement, Property
from cacheproof.models.zones import Linearizable

__all__ = ["LARGE_BYTES", "Questions", "ReadingLine", "check_file", "read_property"]

LARGE_BYTES = 20_000_000
"""About 100,000 operations; a larger file is read into columns if that answers what is asked."""

_NOTICE_LINES = 20_000
_NOTICE_S = 0.1
_PIECE_BYTES = 1 << 20
_LEFT_OUT = (
    "the file is large, so only linearizable was asked; ask for other properties by name, "
    "for example --property durability (that keeps every event in memory)"
)


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask of each file: whether it is linearizable as `model`, and these properties.

    Without either, what is asked by default.  Raises UsageError for a model that there is not.
    """

    model: str | None = None
    properties: tuple[Property, ...] = ()

    def __post_init__(self) -> None:
        if self.model is not None:
            specification_named(self.model)

    @property
    def are_of_registers(self) -> bool:
        """True if columns can answer: linearizability of registers, or nothing in particular."""
        return self.model in (None, "register") and all(
            type(item) is Linearizable for item in self.properties
        )


def read_property(text: str) -> Property:
    """A property as it is written in an option: "durability", "bounded-staleness:seconds=300,…".

    Raises UsageError if there is no such property, or if its parameters are not as it wants them.
    """
    name, _, rest = text.partition(":")
    kind = PROPERTIES.get(name)
    if kind is None:
        raise UsageError(f"no property is called {name!r}; choose from {', '.join(sorted(PROPERTIES))}")
    given: dict[str, Any] = {}
    for part in rest.split(",") if rest else ():
        parameter, value = _parameter(text, part)
        if parameter in given:
            raise UsageError(f"property {text!r}: {parameter!r} is given twice; give it once")
        given[parameter] = value
    if wrong := set(given) - {item.name for item in fields(kind)} or set(_required(kind)) - set(given):
        raise UsageError(
            f"property {text!r}: {', '.join(sorted(wrong))!r} is unknown or missing; {_usage(name, kind)}"
        )
    return property_from_dict({"name": name, **given})


def _parameter(text: str, part: str) -> tuple[str, Any]:
    """The name and the value of `name=value`: a number, true, false, null, or else a text as it stands."""
    name, equals, value = part.partition("=")
    if not equals:
        raise UsageError(f"property {text!r}: {part!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _required(kind: Any) -> list[str]:
    """The parameters of a property that have no value by default."""
    return [item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING]


def _usage(name: str, kind: Any) -> str:
    parameters = [f"{item.name}=…" for item in fields(kind)]
    return f"write {name}:{','.join(parameters)}" if parameters else f"{name} takes no parameters"


def _by_default() -> tuple[Property, ...]:
    """Every property that needs no parameter."""
    return tuple(kind() for kind in PROPERTIES.values() if not _required(kind))


def check_file(path: Path, questions: Questions, notice: Callable[[int], None] | None = None) -> Checked:
    """Read one file and ask the questions.  Never raises for what a file can hold.

    `notice` is called with the number of lines read so far, now and then.
    """
    began = time.perf_counter()
    try:
        checked = _check(path, questions, notice or (lambda lines: None))
    except Malformed as error:
        checked = _unreadable(path, Problem(error.what, error.line, error.column))
    except UsageError as error:
        checked = _unreadable(path, Problem(str(error)))
    except (OSError, MemoryError) as error:
        checked = _unreadable(path, Problem(f"cannot be read: {error!r}", who=Who.MACHINE))
    except Exception as error:
        checked = _unreadable(path, Problem(f"reading failed with {error!r}; please report it", who=Who.US))
    return replace(checked, seconds=time.perf_counter() - began)


def _unreadable(path: Path, problem: Problem) -> Checked:
    return Checked(str(path), problem=problem)


def _check(path: Path, questions: Questions, notice: Callable[[int], None]) -> Checked:
    if path.stat().st_size == 0:
        raise UsageError("the file is empty; expected a history, one event a line")
    if path.stat().st_size > LARGE_BYTES and questions.are_of_registers and _is_json_lines(path):
        return _check_columns(path, questions, notice)
    return _check_recording(path, read_recording(_lines(path, notice)), questions)


# Histories


def _check_recording(path: Path, recording: Recording, questions: Questions) -> Checked:
    history, properties, model = recording.history, questions.properties, questions.model
    if not properties and model is None:
        model = recording.model
        properties = _by_default() if model is None else ()
    answers = [_ask(item, history) for item in properties]
    if model is not None:
        answers.insert(0, _search(model, history))
    return Checked(
        str(path),
        recording.format,
        operations=len(history.operations),
        keys=len({op.key for op in history.operations if op.key is not None}),
        processes=len({op.process for op in history.operations}),
        workers=history.workers,
        answers=tuple(answers),
    )


def _ask(item: Property, history: History) -> Answer:
    return Answer(_question(item), _judged(lambda: item.check(history)))


def _question(item: Any) -> str:
    """A property as it is written in an option, without the parameters that are as by default."""
    given = {field.name: getattr(item, field.name) for field in fields(item)}
    told = [
        f"{field.name}={json.dumps(given[field.name])}"
        for field in fields(item)
        if given[field.name] != field.default
    ]
    return f"{item.name}:{','.join(told)}" if told else str(item.name)


def _judged(judge: Callable[[], Judgement]) -> Judgement:
    """A checker that raises has not found anything out."""
    try:
        return judge()
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> Judgement:
    return Judgement(unknown=f"the checker failed with {error!r}; please report it")


def _search(model: str, history: History) -> Answer:
    """Ask the general checker, and keep its evidence beside the judgement."""
    question, item = f"linearizable as {model}", LinearizableAs(model)
    try:
        result = item.search(history)
    except Exception as error:
        return Answer(question, _failed(error))
    return Answer(question, item.judgement(result), result.refuted)


# Columns


def _check_columns(path: Path, questions: Questions, notice: Callable[[int], None]) -> Checked:
    # numpy starts threads when it is imported, and what has threads must not fork: `verify` never loads it.
    from cacheproof.models.column_reader import read_columns
    from cacheproof.models.columns import NO_KEY
    from cacheproof.models.zone_columns import judge_columns

    with path.open("rb") as file:
        columns = read_columns(_pieces(file, notice))
    question = "linearizable as register" if questions.model is not None else "linearizable"
    asked = questions.model is not None or questions.properties
    return Checked(
        str(path),
        Format.JSON_LINES,
        operations=len(columns),
        keys=len(set(columns.key.tolist()) - {NO_KEY}),
        processes=len(set(columns.process.tolist())),
        answers=(Answer(question, _judged(lambda: judge_columns(columns))),),
        left_out=None if asked else _LEFT_OUT,
    )


# Files


def _lines(path: Path, notice: Callable[[int], None]) -> Iterator[str]:
    """The lines of a file, which end in line feeds alone.  Raises Malformed for what is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(_noticed(file, notice), start=1):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                column = len(line[: error.start].decode("utf-8")) + 1
                raise Malformed(number, column, f"byte {line[error.start]:#04x}; expected UTF-8") from None


def _noticed(lines: Iterable[bytes], notice: Callable[[int], None]) -> Iterator[bytes]:
    """The lines, with a notice every now and then."""
    for number, line in enumerate(lines):
        if number % _NOTICE_LINES == 0:
            notice(number)
        yield line


def _pieces(file: IO[bytes], notice: Callable[[int], None]) -> Iterator[bytes]:
    """A file in large pieces, with a notice after each: a generator is too slow for millions of lines."""
    lines = 0
    while piece := file.read(_PIECE_BYTES):
        yield piece
        lines += piece.count(b"\n")
        notice(lines)


def _is_json_lines(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    try:
        return recognise(first.decode("utf-8", "replace")) is Format.JSON_LINES
    except Malformed:
        return False


class ReadingLine:
    """A line on a terminal that says how far reading has got; nothing where there is no terminal.

    A context manager: the line is gone when it ends.
    """

    def __init__(self, terminal: IO[str] | None, name: str) -> None:
        self._terminal = terminal
        self._name = name
        self._shown: float | None = None

    def __call__(self, lines: int) -> None:
        now = time.monotonic()
        if self._terminal is None or not lines or (self._shown is not None and now - self._shown < _NOTICE_S):
            return
        self._shown = now
        self._terminal.write(f"\r{self._name}: {lines:,} lines\x1b[K")
        self._terminal.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal is not None and self._shown is not None:
            self._terminal.write("\r\x1b[K")
            self._terminal.flush()
