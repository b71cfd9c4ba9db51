"""Servers that the user runs: used only if nobody loses anything by it, and given back as they were.

    with ExternalServers(cache_url="redis://127.0.0.1:6379", database_url="postgresql://app@127.0.0.1/test"):

Rules
1.  Both servers are looked at before either is touched; one that holds data, or is of the wrong kind, is
    refused (usercache.py, userdatabase.py).
2.  What was made goes at the end, also after an error, and it is said what went.  After SIGKILL it goes at the
    next start: the schema in the database notes which cache was in use, and how it was set.
3.  The user's servers are never started, killed, paused or restarted.  Faults that need that do not happen, and
    say so (`features.control`).
"""

import os
import socket
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

from cacheproof.chaos.servers.folder import Folder, make_folder, remove_folder, sweep
from cacheproof.chaos.servers.server import Address, Server
from cacheproof.chaos.servers.servers import Features, Servers
from cacheproof.chaos.servers.urls import Place, read_cache_url, read_database_url
from cacheproof.chaos.servers.usercache import CacheState, UserCache
from cacheproof.chaos.servers.userdatabase import DatabaseState, UserDatabase
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import CacheproofError, EnvironmentFault, HarnessError, UsageError

__all__ = ["CACHE_URL", "DATABASE_URL", "ExternalServers"]

CACHE_URL: Final = "CACHEPROOF_REDIS_URL"
DATABASE_URL: Final = "CACHEPROOF_DATABASE_URL"
"""Environment variables with the URLs of the user's servers."""

_PROBE_S = 5.0


class ExternalServer:
    """Implements `Server` for one that only its user starts and stops."""

    def __init__(self, name: ServerName, address: Address, description: str) -> None:
        self.name = name
        self.address = address
        self._description = description

    @property
    def pid(self) -> int | None:
        return None

    @property
    def running(self) -> bool:
        """Whether somebody listens there."""
        with socket.socket(self.address.family, socket.SOCK_STREAM) as line:
            line.settimeout(_PROBE_S)
            try:
                line.connect(self.address.sockaddr)
            except OSError:
                return False
        return True

    def start(self) -> None:
        """Raises EnvironmentFault if it does not answer: to start it is up to the user."""
        if not self.running:
            raise EnvironmentFault(
                f"the {self.name} server at {self.address} does not answer any more; start it, and run again"
            )

    def kill(self) -> None:
        self._never()

    def pause(self) -> None:
        self._never()

    def resume(self) -> None:
        self._never()

    def restart(self) -> None:
        self._never()

    def _never(self) -> NoReturn:
        raise HarnessError(f"the {self.name} server at {self.address} is the user's, and is left alone")

    def stop(self) -> None:
        """It goes on running."""

    def describe(self) -> str:
        return self._description


class ExternalServers:
    """Implements `Servers`.

    Without a URL, that of the environment is taken.  `allowed` are the names, HOST:PORT/NAME, of databases
    whose contents may be lost.  `tell` is told, in words, what was removed.  `start` raises UsageError for URLs
    that cannot be served and for servers that hold data, EnvironmentFault for what cannot be used or reached.
    """

    def __init__(
        self,
        *,
        cache_url: str | None = None,
        database_url: str | None = None,
        allowed: Collection[str] = (),
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._urls = (cache_url, database_url)
        self._allowed = frozenset(allowed)
        self._tell = tell or _tell
        self._undo: ExitStack | None = None
        self._database: UserDatabase | None = None
        self._running: tuple[ExternalServer, ExternalServer, Folder, Features] | None = None
        self._harness = os.getpid()

    @property
    def cache(self) -> Server:
        return self._started[0]

    @property
    def database(self) -> Server:
        return self._started[1]

    @property
    def folder(self) -> Path:
        return self._started[2].path

    @property
    def features(self) -> Features:
        return self._started[3]

    @property
    def lifeline_fds(self) -> tuple[int, ...]:
        claim = () if self._database is None else self._database.fds
        return claim if self._running is None else (*claim, self._running[2].lock_fd)

    @property
    def _started(self) -> tuple[ExternalServer, ExternalServer, Folder, Features]:
        if self._running is None:
            raise HarnessError("external servers are not in use; start them first, or use `with`")
        return self._running

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Look at both servers, and make them ours if nobody loses anything by it."""
        if self._undo is not None:
            return
        self._harness = os.getpid()
        given_cache, given_database = self._urls
        cache = UserCache(read_cache_url(_given(given_cache, CACHE_URL, "redis://HOST:PORT")))
        database = UserDatabase(
            read_database_url(_given(given_database, DATABASE_URL, "postgresql://USER@HOST:PORT/NAME"))
        )
        before, held = cache.look(), database.look()
        left = _is_left_by_us(cache.place, before, held)
        if not left:
            cache.check_empty(before, self._allowed)
        database.check_free(held, self._allowed)
        self._undo = ExitStack()
        try:
            self._take(self._undo, cache, before, database, held, left=left)
        except BaseException:
            self.stop()
            raise

    def _take(
        self,
        undo: ExitStack,
        cache: UserCache,
        before: CacheState,
        database: UserDatabase,
        held: DatabaseState,
        *,
        left: bool,
    ) -> None:
        """Make them ours; what has to be undone is noted before it can fail."""
        settings = dict(before.settings)
        if left:
            settings |= _texts((held.left or {}).get("settings"))
        changes = {name: settings[name] for name in cache.changes(before)}
        note = {"cache": cache.place.name, "run_id": before.run_id, "settings": changes}
        self._database = database
        database.claim(held, note)
        undo.callback(self._say, lambda: database.give_back(held.held))
        if left:
            self._say(lambda: f"an earlier search was killed, and left something: {cache.give_back(changes)}")
        undo.callback(self._say, lambda: cache.give_back(settings))
        sweep()
        folder = make_folder(for_servers=False)
        undo.callback(_discard, folder)
        features = Features(
            control=False,
            superuser=held.superuser,
            import_mode=before.import_mode,
            again=False,
            deadlocks=held.deadlocks,
        )
        self._running = (
            ExternalServer(ServerName.CACHE, cache.place.address, _told(cache.place, str(before.product))),
            ExternalServer(
                ServerName.DATABASE, database.address(held), _told(database.place, str(held.product))
            ),
            folder,
            features,
        )

    def _say(self, act: Callable[[], str]) -> None:
        """Do something and tell what was done; what cannot be undone is told as well, and ends nothing else."""
        try:
            words = act()
        except (CacheproofError, ConnectionError) as error:
            words = f"could not clean up: {error}; do it by hand"
        self._tell(words)

    def stop(self) -> None:
        """Give both servers back.  In a forked child, let go of them and no more."""
        undo, self._undo = self._undo, None
        if undo is None:
            return
        if os.getpid() == self._harness:
            undo.close()
        else:
            undo.pop_all()  # which nobody closes
            if self._database is not None:
                self._database.abandon()
            if self._running is not None:
                os.close(self._running[2].lock_fd)
        self._database = self._running = None

    def mend(self) -> None:
        """Raises EnvironmentFault if one of them does not answer: to start it is up to the user."""
        for server in (self.cache, self.database):
            server.start()

    def another(self) -> Servers:
        """There is none: the user gave one of each."""
        raise HarnessError("there is no second pair of external servers")


def _discard(folder: Folder) -> None:
    remove_folder(folder.path)
    os.close(folder.lock_fd)


def _tell(words: str) -> None:
    sys.stderr.write(f"cacheproof: {words}\n")


def _is_left_by_us(place: Place, cache: CacheState, database: DatabaseState) -> bool:
    """Whether what the cache holds is what a search left that was killed."""
    noted = database.left or {}
    return bool(cache.run_id) and noted.get("cache") == place.name and noted.get("run_id") == cache.run_id


def _given(url: str | None, variable: str, form: str) -> str:
    found = url or os.environ.get(variable)
    if not found:
        raise UsageError(f"no URL of a server of yours was given; set {variable} to {form}")
    return found


def _texts(noted: object) -> Mapping[str, str]:
    pairs = noted.items() if isinstance(noted, dict) else ()
    return {str(name): str(value) for name, value in pairs}


def _told(place: Place, product: str) -> str:
    return f"{product}, external, {place.name}: never killed, paused or restarted"
