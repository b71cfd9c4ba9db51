"""The backends by name: what `verify(…, backend=…)`, `--backend` and `--chaos-backend` take.

A backend's own module is imported when it is asked for, so that a machine needs only what it uses.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.servers import Servers
from cacheproof.models.errors import UsageError

__all__ = ["BACKENDS", "DEFAULT_BACKEND", "make_servers"]

DEFAULT_BACKEND: Final = "embedded"


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What was asked for besides the name of the backend."""

    cache_image: str | None
    database_image: str | None
    cache_url: str | None
    database_url: str | None
    allow_flush: Collection[str]


def make_servers(
    backend: str | None = None,
    *,
    cache_image: str | None = None,
    database_image: str | None = None,
    cache_url: str | None = None,
    database_url: str | None = None,
    allow_flush: Collection[str] = (),
) -> Servers:
    """The servers of a backend, not started yet; embedded ones unless named.

    Images are those of the environment or the default ones unless given, and mean something to containers
    only.  URLs are those of the environment unless given; they, and the names of databases whose contents may
    be lost (`allow_flush`), mean something to external servers only.  Raises UsageError for a backend that there
    is not, and for what it has no use for.
    """
    name = DEFAULT_BACKEND if backend is None else backend
    if name not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}; choose from {', '.join(BACKENDS)}")
    if name != "docker" and (cache_image or database_image):
        raise UsageError(
            f"image {cache_image or database_image!r} was given, and the backend {name!r} uses none; "
            "choose the backend 'docker'"
        )
    if name != "external" and (cache_url or database_url or allow_flush):
        raise UsageError(
            f"a URL of a server, or leave to flush one, was given, and the backend {name!r} has servers of its own; "
            "choose the backend 'external'"
        )
    return BACKENDS[name](_Wishes(cache_image, database_image, cache_url, database_url, tuple(allow_flush)))


def _embedded(wishes: _Wishes) -> Servers:
    return EmbeddedServers()


def _docker(wishes: _Wishes) -> Servers:
    from cacheproof.chaos.servers.containers import ContainerServers

    return ContainerServers(cache_image=wishes.cache_image, database_image=wishes.database_image)


def _external(wishes: _Wishes) -> Servers:
    from cacheproof.chaos.servers.external import ExternalServers

    return ExternalServers(
        cache_url=wishes.cache_url, database_url=wishes.database_url, allowed=wishes.allow_flush
    )


BACKENDS: Final[Mapping[str, Callable[[_Wishes], Servers]]] = {
    "docker": _docker,
    "embedded": _embedded,
    "external": _external,
}
"""What makes the servers of each backend, given what was asked for."""
