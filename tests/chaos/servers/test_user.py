"""Which user servers run as."""

import os
import pwd
from types import SimpleNamespace

import pytest

from cacheproof.chaos.servers.user import server_user
from cacheproof.models.errors import EnvironmentFault


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch) -> "Be":
    return Be(monkeypatch)


class Be:
    """`be(user, {name: id})`: become a user of a machine with these entries in its passwd file."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def __call__(self, me: int, entries: dict[str, int]) -> None:
        by_id = {user: SimpleNamespace(pw_uid=user) for user in entries.values()}
        self.patch.setattr(os, "geteuid", lambda: me)
        self.patch.setattr(pwd, "getpwuid", by_id.__getitem__)
        self.patch.setattr(pwd, "getpwnam", lambda name: by_id[entries[name]])


def test_ordinary_users_run_servers_themselves(be: Be) -> None:
    """There is no change of user."""
    be(1000, {"me": 1000, "nobody": 65534})
    assert server_user() is None


def test_users_without_a_name_cannot(be: Be) -> None:
    """The fault names the user id and what to add."""
    be(1234, {"nobody": 65534})
    with pytest.raises(EnvironmentFault, match="user 1234 has no name.*/etc/passwd"):
        server_user()


@pytest.mark.parametrize("entries", [{"nobody": 65534}, {"nobody": 99, "nfsnobody": 65534}])
def test_root_becomes_nobody(entries: dict[str, int], be: Be) -> None:
    """The user 65534 is taken if it has a name, whatever the name."""
    be(0, {"root": 0, **entries})
    assert server_user() == 65534


def test_root_where_nobody_has_another_id(be: Be) -> None:
    """Without a user 65534, whoever is called "nobody"."""
    be(0, {"root": 0, "nobody": 99})
    assert server_user() == 99


def test_root_without_nobody(be: Be) -> None:
    """Without either, a fault that says whom to add."""
    be(0, {"root": 0})
    with pytest.raises(EnvironmentFault, match="no user 'nobody'"):
        server_user()
