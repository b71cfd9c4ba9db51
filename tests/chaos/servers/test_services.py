"""What runs in containers: the settings of the embedded servers, in the words of the official images."""

import pytest

from cacheproof.chaos.servers import postgres, valkey
from cacheproof.chaos.servers.services import SERVICES
from cacheproof.models.decision import ServerName

CACHE, DATABASE = SERVICES[ServerName.CACHE], SERVICES[ServerName.DATABASE]


def settings_of_database(major: str | None) -> dict[str, str]:
    words = DATABASE.command({} if major is None else {"PG_MAJOR": major})
    assert set(words[::2]) == {"-c"}
    return dict(word.split("=", 1) for word in words[1::2])


def test_each_server_has_its_service() -> None:
    """Under its own name."""
    assert [SERVICES[name].name for name in ServerName] == list(ServerName)


def test_the_cache_is_set_as_the_embedded_one() -> None:
    """But for where it listens and whom it lets in; the words begin with an option, so that images add the program."""
    words = CACHE.command({})
    settings = dict(zip(words[::2], words[1::2], strict=True))
    differ = {"--port": "6379", "--enable-debug-command": "yes", "--protected-mode": "no", "--dir": "/data"}
    embedded = {f"--{name}": value for name, value in valkey.SETTINGS.items()}
    assert settings == {**embedded, **differ}
    assert words[0].startswith("--")


def test_the_database_is_set_as_the_embedded_one() -> None:
    """But for where it listens: on all addresses inside the container."""
    settings = settings_of_database("18")
    changed = {"listen_addresses": "*", "port": "5432"}
    expected = {**postgres.SETTINGS, **changed}
    del expected["unix_socket_permissions"]
    assert settings == expected


@pytest.mark.parametrize("major", ["16", "17", None, "sixteen"])
def test_earlier_versions_are_spared_what_they_do_not_know(major: str | None) -> None:
    """PostgreSQL does not start with a setting that it does not know; what decides what survives is the same."""
    settings = settings_of_database(major)
    assert set(settings_of_database("18")) - set(settings) == {"io_method"}
    assert (settings["synchronous_commit"], settings["fsync"]) == ("on", "off")


def test_names_are_those_of_the_embedded_database() -> None:
    """So that every URL is the same; nobody is asked for a password."""
    variables = DATABASE.variables
    assert (variables["POSTGRES_USER"], variables["POSTGRES_DB"]) == (postgres.USER, postgres.DATABASE)
    assert variables["POSTGRES_HOST_AUTH_METHOD"] == "trust"
    assert variables["PGDATA"].startswith(DATABASE.mount + "/")


def test_what_survives_is_said() -> None:
    """In the words that the embedded servers use."""
    assert CACHE.keeps == "no persistence"
    assert DATABASE.keeps == (
        "synchronous_commit=on, fsync=off, full_page_writes=off: a kill loses nothing, power loss would"
    )
