"""What servers say of themselves when they are asked: product, version, and what they can do.

A version in the name of an image, or of a package, is what somebody wrote; this is what runs.
"""

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.wire.upstream import PgUpstream, RedisUpstream
from cacheproof.models.errors import EnvironmentFault

__all__ = ["Product", "ask_cache", "ask_database", "has_import_mode"]


@dataclass(frozen=True, slots=True)
class Product:
    """Such as ("Redis", "7.4.2"), ("Valkey", "9.1.2"), ("PostgreSQL", "16.4")."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def ask_cache(address: Address) -> Product:
    """What the cache is.  Raises EnvironmentFault if it does not say, as something else on its port would not."""
    with closing(RedisUpstream(address, 2, import_source=False)) as line:
        said = line.call("INFO", "server").value
    facts = _facts(said if isinstance(said, bytes) else b"")
    if "valkey_version" in facts:
        return Product("Valkey", facts["valkey_version"])
    if "redis_version" in facts:
        return Product("Redis", facts["redis_version"])
    raise EnvironmentFault(
        f"the server at {address} does not say that it is Redis or Valkey; is it another one?"
    )


def has_import_mode(address: Address) -> bool:
    """Whether the cache has Valkey's import mode, in which real time expires nothing."""
    with closing(RedisUpstream(address, 2, import_source=False)) as line:
        said = line.call("CONFIG", "GET", "import-mode")
    return not said.is_error and bool(said.value)


def ask_database(address: Address, *, user: str, database: str) -> Product:
    """What the database is.  Raises EnvironmentFault if it refuses the session."""
    with closing(PgUpstream(address, {"user": user, "database": database})) as session:
        said = session.query("show server_version").rows[0][0]
    found = re.match(r"[\d.]+", str(said))
    return Product("PostgreSQL", found.group() if found else str(said))


def _facts(info: bytes) -> Mapping[str, str]:
    """The lines `name:value` of an INFO reply."""
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, separator, value in pairs if separator}
