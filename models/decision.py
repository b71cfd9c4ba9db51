"""Decisions: what the director can do next, as data.

A decision names the client it concerns, never an exchange number or a socket, so that it keeps its meaning
when a minimiser removes other decisions.  `pick` chooses among several pending exchanges of one client, in
their canonical order (see `cacheproof.chaos.wire`); it is 0 for a client that does one thing at a time.

    invoke    client f key          start an operation on an idle client
    deliver   client pick fate      release a pending exchange: delivered, request lost, reply lost, delayed, or
                                    refused with an `error` that the server gives instead of doing it
    arrive    client pick           a delayed request of the client reaches its server: a zombie
    crash     client in_flight      SIGKILL the client; a statement that already runs at the server may still run
    restart   client                start it anew: new process, new cache instance, new connections
    pause     client                the client stops (a long collection of garbage); what it has sent goes on
    resume    client                it goes on, without having noticed
    skew      client by_s           the client's wall clock is set forward (or, negative, back)
    kill      server                SIGKILL a server
    start     server survived       start it again at the same address, with what survived
    freeze    server                the server takes requests, and works on none of them
    thaw      server                it works on what came meanwhile, in that order
    partition server client manner  the network between a client (or all of them) and a server fails
    heal      server client         it works again
    expire    key                   the cache drops a key as if its ttl had passed
    evict     key                   the cache drops a key for want of memory
    flush     what                  the cache loses all its keys, or all its scripts
    failover  behind                a replica takes over from the cache, which lacks the last writes
    lag                             the database's read replica falls behind: it gets no commits any more
    replicate commits               it catches up by so many of them; once it has them all, it follows again
    advance   seconds               virtual time passes: ttls run out, sleepers wake
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from math import isfinite
from typing import Any

from cacheproof.models.errors import UsageError

__all__ = [
    "Advance",
    "Arrive",
    "Crash",
    "Decision",
    "Deliver",
    "Evict",
    "Expire",
    "Failover",
    "Fate",
    "Flush",
    "Flushed",
    "Freeze",
    "Heal",
    "InFlight",
    "Invoke",
    "Kill",
    "Lag",
    "Manner",
    "Partition",
    "Pause",
    "Replicate",
    "Restart",
    "Resume",
    "ServerName",
    "Skew",
    "Start",
    "Survived",
    "Thaw",
    "decision_from_dict",
    "decision_to_dict",
]


class Fate(StrEnum):
    """What becomes of an exchange that is released."""

    DELIVERED = "delivered"
    REQUEST_LOST = "request-lost"
    REPLY_LOST = "reply-lost"
    DELAYED = "delayed"
    """The client sees a reset now; the request reaches the server at a later decision (`Arrive`), or at the end."""
    REFUSED = "refused"
    """The server answers with an error, and does nothing."""


class InFlight(StrEnum):
    """What becomes of a statement that already runs at the server when its client crashes."""

    RUNS = "runs"
    CANCELLED = "cancelled"


class Survived(StrEnum):
    """What a server still has after a kill and a start."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    """Its append-only file was complete: a kill loses nothing that had been written to it."""
    SYNCED = "synced"
    """Power was lost: only what its policy had forced to the disk by then."""
    SNAPSHOT = "snapshot"
    """Its last snapshot, and nothing since."""


class Manner(StrEnum):
    """How the network between a client and a server fails."""

    REFUSE = "refuse"
    """Connections break, and new ones are refused."""
    SILENT = "silent"
    """Nothing arrives in either direction, and nobody is told."""
    REQUESTS = "requests"
    """What the client sends does not arrive."""
    REPLIES = "replies"
    """What the server answers does not arrive; it has done what it was asked."""


class Flushed(StrEnum):
    """What a flush takes away."""

    KEYS = "keys"
    SCRIPTS = "scripts"


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
    error: str | None = None
    """With the fate `refused`: a name of `cacheproof.models.refusal`, such as "loading" or "serialization"."""


@dataclass(frozen=True, slots=True)
class Arrive:
    client: int
    pick: int = 0


@dataclass(frozen=True, slots=True)
class Crash:
    client: int
    in_flight: InFlight = InFlight.CANCELLED


@dataclass(frozen=True, slots=True)
class Restart:
    client: int


@dataclass(frozen=True, slots=True)
class Pause:
    client: int


@dataclass(frozen=True, slots=True)
class Resume:
    client: int


@dataclass(frozen=True, slots=True)
class Skew:
    client: int
    by_s: float


@dataclass(frozen=True, slots=True)
class Kill:
    server: ServerName


@dataclass(frozen=True, slots=True)
class Start:
    """`survived` is None for what the server promises by itself: the cache nothing, the database every commit.

    With `synced` and `snapshot`, the cache lacks its last `behind` writes.
    """

    server: ServerName
    survived: Survived | None = None
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Freeze:
    server: ServerName


@dataclass(frozen=True, slots=True)
class Thaw:
    server: ServerName


@dataclass(frozen=True, slots=True)
class Partition:
    """`client` is None for all of them: the server is down for everybody, and loses nothing."""

    server: ServerName
    client: int | None = None
    manner: Manner = Manner.REFUSE


@dataclass(frozen=True, slots=True)
class Heal:
    server: ServerName
    client: int | None = None


@dataclass(frozen=True, slots=True)
class Expire:
    """Expire `key`, a key of the cache itself (such as "user:1" or "cache:user:1")."""

    key: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Evict `key`, a key of the cache itself."""

    key: str


@dataclass(frozen=True, slots=True)
class Flush:
    what: Flushed = Flushed.KEYS


@dataclass(frozen=True, slots=True)
class Failover:
    """`behind` is the number of write commands that the replica lacks."""

    behind: int = 1


@dataclass(frozen=True, slots=True)
class Lag:
    """From now on the read replica shows what the database holds at this moment."""


@dataclass(frozen=True, slots=True)
class Replicate:
    commits: int = 1


@dataclass(frozen=True, slots=True)
class Advance:
    seconds: float


Decision = (
    Invoke
    | Deliver
    | Arrive
    | Crash
    | Restart
    | Pause
    | Resume
    | Skew
    | Kill
    | Start
    | Freeze
    | Thaw
    | Partition
    | Heal
    | Expire
    | Evict
    | Flush
    | Failover
    | Lag
    | Replicate
    | Advance
)

_TYPES: Mapping[str, type[Any]] = {
    "advance": Advance,
    "arrive": Arrive,
    "crash": Crash,
    "deliver": Deliver,
    "evict": Evict,
    "expire": Expire,
    "failover": Failover,
    "flush": Flush,
    "freeze": Freeze,
    "heal": Heal,
    "invoke": Invoke,
    "kill": Kill,
    "lag": Lag,
    "partition": Partition,
    "pause": Pause,
    "replicate": Replicate,
    "restart": Restart,
    "resume": Resume,
    "skew": Skew,
    "start": Start,
    "thaw": Thaw,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}
_ENUMS: Mapping[str, type[StrEnum]] = {
    "fate": Fate,
    "in_flight": InFlight,
    "manner": Manner,
    "server": ServerName,
    "survived": Survived,
    "what": Flushed,
}
_PLAIN: Mapping[str, tuple[type, ...]] = {
    "behind": (int,),
    "by_s": (int, float),
    "client": (int,),
    "commits": (int,),
    "error": (str,),
    "f": (str,),
    "key": (str, type(None)),
    "pick": (int,),
    "seconds": (int, float),
}
_MAY_BE_NEGATIVE = frozenset({"by_s"})


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
    if isinstance(value, (int, float)) and not (isfinite(value) and (value >= 0 or name in _MAY_BE_NEGATIVE)):
        least = "" if name in _MAY_BE_NEGATIVE else ", 0 or more"
        raise UsageError(f"decision {data!r}: {name} is {value!r}; expected a finite number{least}")
    return value
