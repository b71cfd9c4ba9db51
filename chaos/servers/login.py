"""How to log in at a server that does not trust whoever can reach it, and what its sessions are asked to be.

Clients connect to the wire without a password, as the user and to the database that their URLs name.  Where
the server knows neither, the wire takes that part of the start-up packet and says the real names instead:

    client ── user=cacheproof database=records ──► wire ── user=app database=test, password ──► server
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["CLIENT_DATABASE", "CLIENT_USER", "TRUSTED", "Login"]

CLIENT_USER: Final = "cacheproof"
CLIENT_DATABASE: Final = "records"
"""What the URLs of clients say, whatever the server's own names are."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who to be at a server; what is None is left to what the client says.

    `settings` are further start-up parameters of sessions at the database, in pairs of name and value; what a
    client sets itself is stronger.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    def parameters(self, said: Mapping[str, str]) -> dict[str, str]:
        """The start-up parameters of a client, `said`, as the database has to see them."""
        out = {**dict(self.settings), **said}
        if self.user is not None and said.get("user") == CLIENT_USER:
            out["user"] = self.user
        if self.database is not None and said.get("database") == CLIENT_DATABASE:
            out["database"] = self.database
        return out


TRUSTED: Final = Login()
"""A server that trusts whoever can reach it."""
