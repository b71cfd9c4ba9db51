"""What runs in the containers: how each server is told its settings, asked whether it is at work, and described.

Rule 1  Settings are those of the embedded servers, and differ only where a container asks for it.
Rule 2  Official images and built ones are treated alike: options are the command, which the image's own entry
        point completes by the program; the database's user and name are in the official image's variables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cacheproof.chaos.servers.inquiry import Product, ask_cache, ask_database
from cacheproof.chaos.servers.postgres import DATABASE, USER, greets
from cacheproof.chaos.servers.postgres import SETTINGS as DATABASE_SETTINGS
from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.servers.valkey import SETTINGS as CACHE_SETTINGS
from cacheproof.chaos.servers.valkey import pings
from cacheproof.models.decision import ServerName

__all__ = ["SERVICES", "Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """A kind of server in a container.

    It listens on `port` inside, has its data below `mount`, and is started with the environment `variables` and
    the words of `command`, which depend on the environment that the image sets.  `answers` connects and tells
    whether it is at work; it may raise what a socket raises while nobody is there.  `product` asks the server
    what it is.  `keeps` says what survives a kill.
    """

    name: ServerName
    title: str
    port: int
    mount: str
    variables: Mapping[str, str]
    command: Callable[[Mapping[str, str]], tuple[str, ...]]
    answers: Callable[[Address], bool]
    product: Callable[[Address], Product]
    keeps: str


_CACHE_OPTIONS: Final[Mapping[str, str]] = {
    **CACHE_SETTINGS,
    "port": "6379",
    "dir": "/data",
    # Whoever connects comes from outside the container, the director too.
    "protected-mode": "no",
    "enable-debug-command": "yes",
}

_ONLY_INSIDE: Final = frozenset({"unix_socket_permissions"})
_DATABASE_OPTIONS: Final[Mapping[str, str]] = {
    **{name: value for name, value in DATABASE_SETTINGS.items() if name not in _ONLY_INSIDE},
    "listen_addresses": "*",
    "port": "5432",
}
_SINCE: Final[Mapping[str, int]] = {"io_method": 18}
"""Settings that earlier versions of PostgreSQL do not know, and do not start with: the version each came with."""

_FORCED: Final = ("synchronous_commit", "fsync", "full_page_writes")


def _cache_command(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(word for name, value in _CACHE_OPTIONS.items() for word in (f"--{name}", value))


def _database_command(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The images say their major version in PG_MAJOR; one that does not may be of any."""
    told = environment.get("PG_MAJOR", "")
    version = int(told) if told.isdigit() else 0
    known = {name: value for name, value in _DATABASE_OPTIONS.items() if _SINCE.get(name, 0) <= version}
    return tuple(word for name, value in known.items() for word in ("-c", f"{name}={value}"))


SERVICES: Final[Mapping[ServerName, Service]] = {
    ServerName.CACHE: Service(
        name=ServerName.CACHE,
        title="the cache",
        port=6379,
        mount="/data",
        variables={},
        command=_cache_command,
        answers=pings,
        product=ask_cache,
        keeps="no persistence",
    ),
    ServerName.DATABASE: Service(
        name=ServerName.DATABASE,
        title="PostgreSQL",
        port=5432,
        mount="/cacheproof",
        variables={
            "POSTGRES_USER": USER,
            "POSTGRES_DB": DATABASE,
            "POSTGRES_HOST_AUTH_METHOD": "trust",
            "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C --no-sync",
            "PGDATA": "/cacheproof/data",  # images differ in where they have it, and in what they expect there
        },
        command=_database_command,
        answers=lambda address: greets(address, DATABASE),
        product=lambda address: ask_database(address, user=USER, database=DATABASE),
        keeps=", ".join(f"{name}={DATABASE_SETTINGS[name]}" for name in _FORCED)
        + ": a kill loses nothing, power loss would",
    ),
}
