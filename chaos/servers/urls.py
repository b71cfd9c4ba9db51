"""The URLs of servers that a user runs, read into addresses.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/0]         unix://[[USER]:PASSWORD@]PATH
    postgresql://[USER[:PASSWORD]@][HOST][:PORT]/NAME[?host=FOLDER OF THE SOCKET]

Each server has a name for people, which is also what they repeat to allow something: HOST:PORT/NAME, with the
number or name of the database behind the slash.  It never holds a password.
"""

import getpass
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from cacheproof.chaos.servers.login import Login
from cacheproof.chaos.servers.server import Address
from cacheproof.models.errors import EnvironmentFault, UsageError

__all__ = ["Place", "permission", "read_cache_url", "read_database_url"]

_CACHE_PORT = 6379
_DATABASE_PORT = 5432
_PLAIN_MODES = frozenset({"allow", "disable", "prefer"})
_TLS = (
    "TLS is not supported: the wire reads what is said; give an address on which the server speaks without it"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server of the user's is: what people call it (HOST:PORT or a path), and how to connect.

    `database` is what stands behind the slash.
    """

    server: str
    database: str
    address: Address

    @property
    def name(self) -> str:
        return f"{self.server}/{self.database}"


def permission(name: str) -> str:
    """How the loss of what a database holds is allowed, in words."""
    return f"--chaos-allow-flush {name} (of pytest; of the command cacheproof: --allow-flush {name})"


def read_cache_url(url: str) -> Place:
    """Raises UsageError for what is no such URL or cannot be served, EnvironmentFault for an unknown host."""
    parts = _split(url, "redis", "unix", "rediss", "valkey", "valkeys")
    if parts.scheme in ("rediss", "valkeys"):
        raise UsageError(f"{_shown(parts)!r}: {_TLS}")
    query = _query(parts)
    number = query.get("db") or ("0" if parts.scheme == "unix" else parts.path.strip("/") or "0")
    if number != "0":
        raise UsageError(
            f"{_shown(parts)!r} names database {number!r}; caches under test are given database 0 and may reach all "
            "others, so they need a server of their own: end the URL with /0, or with nothing"
        )
    login = Login(user=_word(parts.username), password=_word(parts.password))
    if parts.scheme == "unix":
        path = unquote(parts.path)
        return Place(path, number, Address(path, login))
    host, port = parts.hostname or "localhost", parts.port or _CACHE_PORT
    return Place(f"{host}:{port}", number, Address(_resolved(host, port), login))


def read_database_url(url: str) -> Place:
    """Raises UsageError for what is no such URL or cannot be served, EnvironmentFault for an unknown host."""
    parts = _split(url, "postgresql", "postgres")
    query = _query(parts)
    if (mode := query.get("sslmode", "disable")) not in _PLAIN_MODES:
        raise UsageError(f"{_shown(parts)!r} asks for sslmode={mode}; {_TLS}")
    user = _word(parts.username) or query.get("user") or getpass.getuser()
    name = unquote(parts.path.strip("/")) or query.get("dbname") or user
    login = Login(user=user, password=_word(parts.password) or query.get("password"), database=name)
    host = query.get("host") or unquote(parts.hostname or "") or "localhost"
    if not (stated := query.get("port", str(_DATABASE_PORT))).isdigit():
        raise UsageError(f"{_shown(parts)!r}: port {stated!r} is no number; write 1 to 65535")
    port = parts.port or int(stated)
    if host.startswith("/"):
        path = f"{host}/.s.PGSQL.{port}"
        return Place(path, name, Address(path, login))
    return Place(f"{host}:{port}", name, Address(_resolved(host, port), login))


def _split(url: str, *schemes: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        number = parts.port
    except ValueError as error:
        raise UsageError(f"{_without_password(url)!r} is no URL: {error}") from None
    if parts.scheme not in schemes or number == 0:
        raise UsageError(
            f"{_without_password(url)!r} is no URL of such a server; write {schemes[0]}://HOST:PORT/…"
        )
    return parts


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else url


def _shown(parts: SplitResult) -> str:
    return _without_password(parts.geturl())


def _query(parts: SplitResult) -> Mapping[str, str]:
    return {name: values[-1] for name, values in parse_qs(parts.query).items()}


def _word(text: str | None) -> str | None:
    return unquote(text) if text else None


def _resolved(host: str, port: int) -> tuple[str, int]:
    """The numeric address of a host, so that nobody is asked for it again; IPv4 if there is a choice."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EnvironmentFault(
            f"there is no host {host!r} ({error}); see whether its name is right"
        ) from None
    chosen = min(found, key=lambda item: item[0] != socket.AF_INET)
    return str(chosen[4][0]), port
