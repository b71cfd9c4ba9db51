"""What a cache under test is given: addresses, its client's name, and a clock."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from cacheproof.chaos.wire.pglink import REPLICA_OPTIONS

__all__ = ["Environment", "client_name"]


@dataclass(frozen=True, slots=True)
class Environment:
    """The world as one client sees it.

    `redis_url` and `database_url` lead to this client's own ports on the wire; `client` is its name ("A",
    "B", …, "worker 1"); `clock` returns virtual unix time in seconds, as `time.time` does in the client.
    """

    redis_url: str
    database_url: str
    client: str
    clock: Callable[[], float]

    @property
    def replica_url(self) -> str:
        """Leads to a read replica of the database, which may lag behind, and fails and comes back with it."""
        return f"{self.database_url}&options={quote(REPLICA_OPTIONS)}"


def client_name(process: int, clients: int) -> str:
    """The name of a client ("A" … "Z", "client 27" …) or of a worker ("worker 1" …)."""
    if process >= clients:
        return f"worker {process - clients + 1}"
    return chr(ord("A") + process) if process < 26 else f"client {process + 1}"
