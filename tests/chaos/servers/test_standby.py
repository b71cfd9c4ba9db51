"""`chaos/servers/standby.py`: a restart that takes no time, and still is one."""

from collections.abc import Iterator

import pytest
import redis

from cacheproof.chaos.servers.embedded import EmbeddedServers


@pytest.fixture(scope="module")
def servers() -> Iterator[EmbeddedServers]:
    with EmbeddedServers() as running:
        yield running


def test_each_start_is_another_process_at_the_same_address(servers: EmbeddedServers) -> None:
    """Ten kills in a row: the address stays, the process and its run id are new, and nothing is kept."""
    address = servers.cache.address
    seen = set()
    for number in range(10):
        assert servers.cache.running and servers.cache.address == address
        with redis.Redis(unix_socket_path=str(address), decode_responses=True) as client:
            assert client.keys("*") == []
            client.set("number", number)
            seen.add((servers.cache.pid, client.info("server")["run_id"]))
        servers.cache.kill()
        assert not servers.cache.running and servers.cache.pid is None
        with (
            pytest.raises(redis.ConnectionError),
            redis.Redis(unix_socket_path=str(address)) as nobody,
        ):
            nobody.ping()
        servers.cache.start()
    assert len(seen) == 10


def test_pause_concerns_the_one_that_serves(servers: EmbeddedServers) -> None:
    """It does not answer until it is resumed, also after a kill has exchanged the two."""
    servers.cache.kill()
    servers.cache.start()
    with redis.Redis(unix_socket_path=str(servers.cache.address), socket_timeout=0.1) as client:
        client.ping()
        servers.cache.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        servers.cache.resume()
        assert client.ping()


def test_restart_is_another_process(servers: EmbeddedServers) -> None:
    """At the same address."""
    pid = servers.cache.pid
    servers.cache.restart()
    assert servers.cache.running and servers.cache.pid not in (None, pid)


def test_start_and_kill_are_idempotent(servers: EmbeddedServers) -> None:
    """A second start or kill changes nothing."""
    pid = servers.cache.pid
    servers.cache.start()
    assert servers.cache.pid == pid
    servers.cache.kill()
    servers.cache.kill()
    servers.cache.start()
    assert servers.cache.running and servers.cache.pid != pid
