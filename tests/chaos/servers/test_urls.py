"""URLs of the user's servers: what is read from them, and what is said of those that cannot be served."""

import getpass
import socket
from typing import Any

import pytest

from cacheproof.chaos.servers.urls import permission, read_cache_url, read_database_url
from cacheproof.models.errors import EnvironmentFault, UsageError


@pytest.mark.parametrize(
    ("url", "name", "sockaddr", "user", "password"),
    [
        ("redis://127.0.0.1", "127.0.0.1:6379/0", ("127.0.0.1", 6379), None, None),
        ("redis://127.0.0.1:7/0", "127.0.0.1:7/0", ("127.0.0.1", 7), None, None),
        ("valkey://:a%40b%2F@127.0.0.1:7/", "127.0.0.1:7/0", ("127.0.0.1", 7), None, "a@b/"),
        ("redis://app:x@[::1]:7", "::1:7/0", ("::1", 7), "app", "x"),
        ("unix:///run/redis.sock", "/run/redis.sock/0", "/run/redis.sock", None, None),
        ("unix://:x@/run/redis.sock?db=0", "/run/redis.sock/0", "/run/redis.sock", None, "x"),
    ],
)
def test_urls_of_caches(url: str, name: str, sockaddr: Any, user: str | None, password: str | None) -> None:
    """As redis-py reads them."""
    place = read_cache_url(url)
    login = place.address.login
    assert (place.name, place.address.sockaddr, login.user, login.password) == (
        name,
        sockaddr,
        user,
        password,
    )


@pytest.mark.parametrize(
    ("url", "name", "sockaddr", "user", "password"),
    [
        ("postgresql://app@127.0.0.1/test", "127.0.0.1:5432/test", ("127.0.0.1", 5432), "app", None),
        (
            "postgres://app:a%40b@127.0.0.1:7/x?sslmode=prefer",
            "127.0.0.1:7/x",
            ("127.0.0.1", 7),
            "app",
            "a@b",
        ),
        ("postgresql://app@127.0.0.1", "127.0.0.1:5432/app", ("127.0.0.1", 5432), "app", None),
        ("postgresql:///x?host=/run/pg", "/run/pg/.s.PGSQL.5432/x", "/run/pg/.s.PGSQL.5432", None, None),
        (
            "postgresql:///?host=/run/pg&port=7&user=app&password=y&dbname=x",
            "/run/pg/.s.PGSQL.7/x",
            "/run/pg/.s.PGSQL.7",
            "app",
            "y",
        ),
    ],
)
def test_urls_of_databases(
    url: str, name: str, sockaddr: Any, user: str | None, password: str | None
) -> None:
    """As libpq reads them; without a user it is that of the process."""
    place = read_database_url(url)
    login = place.address.login
    assert (place.name, place.address.sockaddr, login.user) == (name, sockaddr, user or getpass.getuser())
    assert (login.password, login.database) == (password, place.database)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("rediss://h:1/0", "'rediss://h:1/0': TLS is not supported"),
        ("valkeys://:s3cret@h:1", r"'valkeys://…@h:1': TLS is not supported"),
        ("redis://h:1/3", "names database '3'; .* need a server of their own"),
        ("unix:///s?db=2", "names database '2'"),
        ("http://h:1", "'http://h:1' is no URL of such a server; write redis://HOST:PORT"),
        ("redis://:s3cret@h:port", r"'redis://…@h:port' is no URL: Port could not be cast"),
        ("redis://h:0", "is no URL of such a server"),
        ("127.0.0.1:6379", "is no URL"),
    ],
)
def test_what_is_said_of_other_caches(url: str, complaint: str) -> None:
    """Who must do what; never with a password."""
    with pytest.raises(UsageError, match=complaint) as caught:
        read_cache_url(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("postgresql://u:s3cret@h/x?sslmode=require", "asks for sslmode=require; TLS is not supported"),
        ("postgresql://h/x?sslmode=verify-full", "asks for sslmode=verify-full"),
        ("mysql://h/x", "is no URL of such a server; write postgresql://"),
        ("postgresql://h:1/x?port=2&host=h", None),
        ("postgresql://h/x?port=many", "port 'many' is no number"),
    ],
)
def test_what_is_said_of_other_databases(
    url: str, complaint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who must do what; a port that is given twice is taken from in front."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 0, 0, "", ("1.2.3.4", 1))])
    if complaint is None:
        assert read_database_url(url).server == "h:1"
        return
    with pytest.raises(UsageError, match=complaint) as caught:
        read_database_url(url)
    assert "s3cret" not in str(caught.value)


def test_hosts_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv4 if there is a choice; people go on calling them by name."""
    found = [
        (socket.AF_INET6, 0, 0, "", ("::1", 7, 0, 0)),
        (socket.AF_INET, 0, 0, "", ("10.0.0.7", 7)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    place = read_cache_url("redis://cache.example:7")
    assert (place.name, place.address.sockaddr) == ("cache.example:7/0", ("10.0.0.7", 7))


def test_a_host_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is at fault."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(EnvironmentFault, match="there is no host 'nowhere.example'"):
        read_database_url("postgresql://nowhere.example/x")


def test_permission_repeats_the_name() -> None:
    """For both faces."""
    assert permission("h:1/x").startswith("--chaos-allow-flush h:1/x ")
    assert "--allow-flush h:1/x" in permission("h:1/x")
