"""A cache server that a user runs: looked at, used for a while, and given back as it was.

Rules
1.  It is refused, with a word for each reason, if it is not what a search needs: Redis 6.2 or newer or Valkey,
    alone (no cluster, no replica, no sentinel), open to what the harness asks of it, and empty.
2.  Empty means: no keys in any database, and no functions.  Before each run everything in the server is
    flushed, so what may be lost has to be allowed by name.
3.  Given back means: flushed, and its settings are what they were.
"""

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import NoReturn

from cacheproof.chaos.servers.inquiry import Product
from cacheproof.chaos.servers.urls import Place, permission
from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.resp import reply_to_json
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.models.errors import EnvironmentFault, UsageError

__all__ = ["CacheState", "UserCache"]

PATIENCE_S = 5.0
_OLDEST = (6, 2)
_WANTED = "give the URL of a Redis (6.2 or newer) or Valkey"
_ASKED: tuple[tuple[str, ...], ...] = (
    ("CONFIG", "GET", "timeout"),
    ("CLIENT", "LIST", "TYPE", "pubsub"),
    ("CLIENT", "UNBLOCK", "0"),
    ("EXISTS", "cacheproof"),
    ("PTTL", "cacheproof"),
    ("DUMP", "cacheproof"),
    ("KEYS", "cacheproof"),
)
"""What the harness asks of every cache, as questions that change nothing."""
_CHANGED = ("import-mode", "notify-keyspace-events")
"""Settings that the harness itself changes; caches under test may change others."""


@dataclass(frozen=True, slots=True)
class CacheState:
    """What a cache server was like before it was used.

    `held` is what it holds, in words, by the name with which its loss is allowed.
    """

    product: Product
    run_id: str
    import_mode: bool
    settings: Mapping[str, str]
    held: Mapping[str, str]


class UserCache:
    """One cache server of the user's.  Raises EnvironmentFault when it cannot be used."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def look(self) -> CacheState:
        """What it is and what it holds; changes nothing.  Raises EnvironmentFault if it is of the wrong kind."""
        with closing(self._line()) as line:
            return self._look(line)

    def _line(self) -> RedisUpstream:
        try:
            return RedisUpstream(self.place.address, 2, import_source=False, patience_s=PATIENCE_S)
        except (ConnectionError, FramingError) as error:
            raise EnvironmentFault(
                f"what listens at {self.place.server} does not speak Redis' protocol ({error}); {_WANTED}"
            ) from None
        except EnvironmentFault as error:
            raise EnvironmentFault(
                f"the cache server at {self.place.server} cannot be used: {error}"
            ) from None

    def _look(self, line: RedisUpstream) -> CacheState:
        facts = self._facts(line)
        product = self._product(facts)
        self._check_role(facts)
        for question in _ASKED:
            said = line.call(*question)
            if said.is_error:
                self._refuse(f"it does not allow {' '.join(question[:2])} ({reply_to_json(said.value)!r})")
        settings = self._settings(line)
        if (limit := settings.get("timeout", "0")) != "0":
            self._refuse(f"it closes connections that are idle for {limit} s; set its `timeout` to 0")
        return CacheState(
            product, facts.get("run_id", ""), "import-mode" in settings, settings, self._held(facts)
        )

    def _refuse(self, why: str) -> NoReturn:
        raise EnvironmentFault(f"the cache server at {self.place.server} cannot be used: {why}")

    def _facts(self, line: RedisUpstream) -> Mapping[str, str]:
        """The lines of INFO."""
        said = line.call("INFO")
        if said.is_error or not isinstance(said.value, bytes):
            self._refuse(f"it does not answer INFO ({reply_to_json(said.value)!r})")
        text = said.value
        pairs = (row.partition(":") for row in text.decode(errors="replace").splitlines())
        return {name: value for name, colon, value in pairs if colon}

    def _product(self, facts: Mapping[str, str]) -> Product:
        name = "valkey" if "valkey_version" in facts else "redis"
        version = facts.get(f"{name}_version")
        if version is None:
            self._refuse(f"it does not say that it is Redis or Valkey; {_WANTED}")
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers < _OLDEST:
            self._refuse(f"it is Redis {version}, and 6.2 is the oldest that can be used")
        return Product(name.capitalize(), version)

    def _check_role(self, facts: Mapping[str, str]) -> None:
        if facts.get("redis_mode") == "sentinel":
            self._refuse("it is a sentinel; give the URL of the server that it watches over")
        if facts.get("cluster_enabled") == "1":
            self._refuse("it is a node of a cluster, which is not supported; give the URL of a single server")
        if facts.get("role", "master") != "master":
            self._refuse("it is a replica, which takes no writes; give the URL of a single server")
        if facts.get("loading", "0") != "0":
            self._refuse("it is still loading what it keeps on disk; try again when it is done")

    def _held(self, facts: Mapping[str, str]) -> Mapping[str, str]:
        """What would be lost, in words, by the name that allows it."""
        held = {f"{self.place.server}/{number}": f"{keys} keys" for number, keys in _keys(facts).items()}
        if (functions := facts.get("number_of_functions", "0")) != "0":
            also = held.get(self.place.name)
            held[self.place.name] = f"{also} and {functions} functions" if also else f"{functions} functions"
        return held

    @staticmethod
    def _settings(line: RedisUpstream) -> Mapping[str, str]:
        said = line.call("CONFIG", "GET", "*").value
        texts = [str(reply_to_json(item)) for item in said] if isinstance(said, tuple) else []
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def check_empty(self, state: CacheState, allowed: Collection[str]) -> None:
        """Raises UsageError if it holds what was not allowed to be lost."""
        for name, what in state.held.items():
            if name not in allowed:
                raise UsageError(
                    f"the cache server holds data: {what} in {name}; all of it would be lost. Give an empty server, "
                    f"or allow it by name: {permission(name)}"
                )

    @staticmethod
    def changes(state: CacheState) -> Mapping[str, str]:
        """The settings that the harness changes, as they were."""
        return {name: state.settings[name] for name in _CHANGED if name in state.settings}

    def give_back(self, settings: Mapping[str, str]) -> str:
        """Flush it and put its settings back; returns what was done, in words."""
        with closing(self._line()) as line:
            keys = sum(_keys(self._facts(line)).values())
            emptied = line.call_many([("FLUSHALL",), ("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH")])[0]
            if emptied.is_error:
                self._refuse(f"it does not allow FLUSHALL ({reply_to_json(emptied.value)!r})")
            now = self._settings(line)
            changed = {name: value for name, value in settings.items() if now.get(name, value) != value}
            replies = line.call_many([("CONFIG", "SET", name, value) for name, value in changed.items()])
        failed = [name for name, reply in zip(changed, replies, strict=True) if reply.is_error]
        told = [f"{self.place.server} is empty again ({keys} keys removed)"]
        if put_back := [name for name in changed if name not in failed]:
            told.append(f"its settings are what they were ({', '.join(put_back)})")
        if failed:
            told.append(f"these settings could not be put back: {', '.join(failed)}")
        return ", ".join(told)


def _keys(facts: Mapping[str, str]) -> Mapping[int, int]:
    """How many keys each database holds that holds any."""
    found = {}
    for name, value in facts.items():
        if name.startswith("db") and name[2:].isdigit():
            found[int(name[2:])] = int(value.partition("keys=")[2].partition(",")[0])
    return found
