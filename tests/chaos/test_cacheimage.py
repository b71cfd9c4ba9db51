"""Images of a cache, on a real server: what is taken is put back, and two are the same if nothing was written."""

from collections.abc import Callable
from typing import Any

import pytest

from cacheproof.chaos.cacheimage import CacheImage, put_back, take_image
from cacheproof.models.errors import HarnessError

Command = tuple[str | int, ...]
LIBRARY = "#!lua name=mine\nserver.register_function('one', function() return 1 end)"
HOLDING: list[Command] = [
    ("SET", "text", "v1"),
    ("SET", "binary", "\x00ü"),
    ("SET", "short", "v", "EX", 60),
    ("RPUSH", "list", "a", "b"),
    ("HSET", "hash", "f", "v", "g", "w"),
    ("SADD", "set", "m", "n"),
    ("ZADD", "zset", 1, "m", 2, "n"),
    ("XADD", "stream", "1-1", "k", "v"),
    ("XADD", "stream", "1-2", "k", "w"),
    ("XGROUP", "CREATE", "stream", "g", "0"),
    ("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", "stream", ">"),
    ("PFADD", "log", "x"),
    ("FUNCTION", "LOAD", LIBRARY),
]
ASKING: list[Command] = [
    ("MGET", "text", "binary", "short", "log"),
    ("LRANGE", "list", 0, -1),
    ("HGETALL", "hash"),
    ("SMEMBERS", "set"),
    ("ZRANGE", "zset", 0, -1, "WITHSCORES"),
    ("XRANGE", "stream", "-", "+"),
    ("XPENDING", "stream", "g"),
    ("FCALL", "one", 0),
    ("TTL", "short"),
    ("TTL", "text"),
]


@pytest.fixture
def cache(network: Any) -> Any:
    """A client of the cache; what it has said to the server is forgotten in the end."""
    network.admin.call("FUNCTION", "FLUSH")
    yield network.redis()
    network.admin.call("FUNCTION", "FLUSH")


@pytest.fixture
def image(network: Any) -> Callable[[], CacheImage]:
    """Takes an image of what the cache holds now."""
    return lambda: take_image(network.time, network.clock.now_ns)


def empty(network: Any) -> None:
    network.admin.call("FLUSHALL")
    network.admin.call("FUNCTION", "FLUSH")
    network.time.forget_all()


def test_everything_is_put_back(network: Any, cache: Any, image: Callable[[], CacheImage]) -> None:
    """Values of every type, groups of streams with what is pending in them, functions, times to live."""
    for command in HOLDING:
        cache.call(*command)
    before, answers = image(), [cache.call(*command) for command in ASKING]
    empty(network)
    assert image().values == {}
    put_back(before, network.time)
    assert [cache.call(*command) for command in ASKING] == answers
    assert image().same_as(before)
    assert network.time.expirable == (b"short",)


def test_ids_of_streams_go_on_where_they_were(
    network: Any, cache: Any, image: Callable[[], CacheImage]
) -> None:
    """Each is greater than all that the stream has seen."""
    first = cache.call("XADD", "stream", "*", "k", "v")
    before = image()
    empty(network)
    put_back(before, network.time)
    assert cache.call("XADD", "stream", "*", "k", "v") == first.replace("-0", "-1")


def test_what_is_due_by_then_is_not_put_back(
    network: Any, cache: Any, image: Callable[[], CacheImage]
) -> None:
    """A server drops it when it reads its file; what is not due keeps the rest of its time."""
    for key, seconds in (("a", 60), ("b", 61)):
        cache.call("SET", key, "v", "EX", seconds)
    before = image()
    empty(network)
    network.clock.set_ns(60 * 10**9)
    put_back(before, network.time)
    assert cache.call("MGET", "a", "b") == [None, "v"]
    assert network.time.remaining_s(b"b") == 1.0


@pytest.mark.parametrize(
    ("command", "same"),
    [
        (("GET", "text"), True),
        (("SET", "text", "v1"), True),  # as it was
        (("XRANGE", "stream", "-", "+"), True),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "stream", ">"), False),
        (("XACK", "stream", "g", "1-1"), False),
        (("XCLAIM", "stream", "g", "other", 0, "1-1"), False),
        (("XDEL", "stream", "1-2"), False),
        (("XGROUP", "CREATECONSUMER", "stream", "g", "new"), False),
        (("SET", "text", "v2"), False),
        (("DEL", "set"), False),
        (("SREM", "set", "m"), False),
        (("EXPIRE", "text", 5), False),
        (("PERSIST", "short"), False),
        (("FUNCTION", "FLUSH"), False),
        (("SCRIPT", "LOAD", "return 1"), True),
    ],
)
def test_what_makes_two_images_differ(
    cache: Any, image: Callable[[], CacheImage], command: Command, same: bool
) -> None:
    """Whatever was written; a question leaves no trace, nor does a script."""
    for given in HOLDING:
        cache.call(*given)
    before = image()
    cache.call(*command)
    assert image().same_as(before) is same


def test_when_a_consumer_was_seen_is_no_difference(
    cache: Any, image: Callable[[], CacheImage], network: Any
) -> None:
    """The server notes in real time that it has asked in vain; that was no write, and no two runs agree on it."""
    for given in HOLDING:
        cache.call(*given)
    ask = ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "stream", ">")
    cache.call(*ask)
    before = image()
    network.admin.call("DEBUG", "SLEEP", "0.002")
    cache.call(*ask)
    after = image()
    assert after.values[b"stream"] != before.values[b"stream"] and after.same_as(before)


def test_a_cache_that_is_not_empty_does_not_take_it(
    network: Any, cache: Any, image: Callable[[], CacheImage]
) -> None:
    """It would be neither the one state nor the other."""
    cache.call("SET", "text", "v1")
    with pytest.raises(HarnessError, match="does not take back what it held: .*BUSYKEY"):
        put_back(image(), network.time)
