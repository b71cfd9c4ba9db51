"""Decisions: what the director can do next, as data.

A decision names the client it concerns, never an exchange number or a socket, so that it keeps its meaning
when a minimiser removes other decisions.  `pick` chooses among several pending exchanges of one client, in
their canonical order (see `cacheproof.chaos.wire`); it is 0 for a client that does one thing at a time.

    invoke   client f key        start an operation on an idle client
    deliver  client pick fate    release a pending exchange: delivered, request lost or reply lost
    crash    client in_flight    SIGKILL the client; a statement that already runs at the server may still run
    restart  client              start it anew: new process, new cache instance, new connections
    kill     server              SIGKILL a server; nothing of the cache survives
    start    server              start it again at the same address
    expire   key                 the cache drops a key as if its ttl had passed
    advance  seconds             virtual time passes: ttls run out, sleepers wake
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from math import inf
from typing import Any

from cacheproof.models.errors import UsageError

__all__ = [
    "Advance",
    "Crash",
    "Decision",
    "Deliver",
    "Expire",
    "Fate",
    "InFlight",
    "Invoke",
    "Kill",
    "Restart",
    "ServerName",
    "Start",
    "decision_from_dict",
    "decision_to_dict",
]


class Fate(StrEnum):
    """What becomes of an exchange that is released."""

    DELIVERED = "delivered"
    REQUEST_LOST = "request-lost"
    REPLY_LOST = "reply-lost"


class InFlight(StrEnum):
    """What becomes of a statement that already runs at the server when its client crashes."""

    RUNS = "runs"
    CANCELLED = "cancelled"


class ServerName(StrEnum):
    """The two servers of a run."""

    CACHE = "cache"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Invoke:
    client: int
    f: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Deliver:
    client: int
    pick: int = 0
    fate: Fate = Fate.DELIVERED


@dataclass(frozen=True, slots=True)
class Crash:
    client: int
    in_flight: InFlight = InFlight.CANCELLED


@dataclass(frozen=True, slots=True)
class Restart:
    client: int


@dataclass(frozen=True, slots=True)
class Kill:
    server: ServerName


@dataclass(frozen=True, slots=True)
class Start:
    server: ServerName


@dataclass(frozen=True, slots=True)
class Expire:
    """Expire `key`, a key of the cache itself (such as "user:1" or "cache:user:1")."""

    key: str


@dataclass(frozen=True, slots=True)
class Advance:
    seconds: float


Decision = Invoke | Deliver | Crash | Restart | Kill | Start | Expire | Advance

_TYPES: Mapping[str, type[Any]] = {
    "invoke": Invoke,
    "deliver": Deliver,
    "crash": Crash,
    "restart": Restart,
    "kill": Kill,
    "start": Start,
    "expire": Expire,
    "advance": Advance,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}
_ENUMS: Mapping[str, type[StrEnum]] = {"fate": Fate, "in_flight": InFlight, "server": ServerName}
_PLAIN: Mapping[str, tuple[type, ...]] = {
    "client": (int,),
    "pick": (int,),
    "f": (str,),
    "key": (str, type(None)),
    "seconds": (int, float),
}


def decision_to_dict(decision: Decision) -> dict[str, Any]:
    """`{"do": name, …}`; fields that have their default value are left out."""
    out: dict[str, Any] = {"do": _NAMES[type(decision)]}
    for field in fields(decision):
        value = getattr(decision, field.name)
        if value != field.default:
            out[field.name] = value.value if isinstance(value, StrEnum) else value
    return out


def decision_from_dict(data: Any) -> Decision:
    """Read what `decision_to_dict` wrote.

    Raises UsageError for anything else: an unknown name, a missing, extra or ill-typed field.
    """
    if not isinstance(data, dict) or not isinstance(data.get("do"), str) or data["do"] not in _TYPES:
        raise UsageError(f"not a decision: {data!r}; expected {{'do': one of {', '.join(_TYPES)}, …}}")
    kind = _TYPES[data["do"]]
    known = {field.name for field in fields(kind)}
    given = {name: value for name, value in data.items() if name != "do"}
    if unknown := sorted(set(given) - known):
        raise UsageError(
            f"decision {data!r} has unknown fields {unknown}; {data['do']!r} takes {sorted(known)}"
        )
    for name, value in given.items():
        given[name] = _read_field(data, name, value)
    try:
        decision: Decision = kind(**given)
    except TypeError as error:
        raise UsageError(f"decision {data!r} is incomplete: {error}") from None
    return decision


def _read_field(data: Any, name: str, value: Any) -> Any:
    if name in _ENUMS:
        try:
            return _ENUMS[name](value)
        except ValueError:
            choices = ", ".join(_ENUMS[name])
            raise UsageError(f"decision {data!r}: {name} is {value!r}; expected one of {choices}") from None
    if not isinstance(value, _PLAIN[name]) or isinstance(value, bool):
        raise UsageError(f"decision {data!r}: {name} is {value!r}, which has the wrong type")
    if isinstance(value, (int, float)) and not 0 <= value < inf:
        raise UsageError(f"decision {data!r}: {name} is {value!r}; expected a finite number, 0 or more")
    return value
