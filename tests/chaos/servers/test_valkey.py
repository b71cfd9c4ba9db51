"""Embedded Valkey, seen through redis-py."""

import re
from pathlib import Path
from typing import Any

import redis

from cacheproof.chaos.servers.embedded import EmbeddedServers


def test_killed_cache_comes_back_empty(servers: EmbeddedServers, cache: redis.Redis) -> None:
    """Nothing survives a kill, and the same client finds the server at the same address."""
    cache.set("key", "value")
    assert cache.get("key") == "value"
    servers.cache.kill()
    cache.connection_pool.disconnect()
    servers.cache.start()
    assert cache.dbsize() == 0


def test_nothing_is_written_to_disk(servers: EmbeddedServers, cache: redis.Redis) -> None:
    """Its folder holds the socket only."""
    cache.set("key", "value")
    assert [path.name for path in Path(str(servers.cache.address)).parent.iterdir()] == ["socket"]


def test_settings(cache: redis.Redis) -> None:
    """No TCP, no persistence, no memory limit, no measuring; notifications on."""
    wanted = {
        "port": "0",
        "save": "",
        "appendonly": "no",
        "maxmemory": "0",
        "latency-tracking": "no",
        "slowlog-log-slower-than": "-1",
        "io-threads": "1",
        "notify-keyspace-events": "AKE",
    }
    assert cache.config_get(*wanted) == wanted


def test_import_mode_can_be_switched_on(cache: redis.Redis) -> None:
    """CONFIG SET import-mode works, and an import source sees a key whose ttl has passed."""
    assert cache.config_set("import-mode", "yes")
    assert _call(cache, "CLIENT", "IMPORT-SOURCE", "ON") == "OK"
    cache.set("key", "value", px=1)
    _call(cache, "DEBUG", "SLEEP", "0.01")  # the server's own sleep, past the ttl
    assert cache.get("key") == "value"
    _call(cache, "CLIENT", "IMPORT-SOURCE", "OFF")
    assert cache.config_set("import-mode", "no")


def _call(cache: redis.Redis, *words: str) -> Any:
    return cache.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no type for it


def test_describe(servers: EmbeddedServers) -> None:
    """One line: product, version, and that nothing is kept."""
    assert re.fullmatch(r"Valkey 9(\.\d+)+, embedded, no persistence", servers.cache.describe())
