"""The cache's time: deadlines kept, keys expired, ttls and times translated, streams numbered."""

from typing import Any

import pytest

from cacheproof.chaos.cacheclock import CacheClock
from cacheproof.chaos.cacheimage import put_back, take_image
from cacheproof.chaos.clock import EPOCH_NS, RunClock
from cacheproof.chaos.reprieve import REPRIEVE_MS
from cacheproof.models.errors import HarnessError

NOW_S = EPOCH_NS // 10**9
HOUR_NS = 3600 * 10**9


@pytest.fixture
def expired(network: Any) -> Any:
    """The keys of which an expiry was published since the last call."""
    listener = network.redis(process=9)
    listener.call("SUBSCRIBE", "__keyevent@0__:expired")

    def read() -> list[str]:
        network.wire.overhear()
        return [message[2] for message in listener.replies()]

    return read


def test_keys_live_in_virtual_time(network: Any, expired: Any) -> None:
    """They are there however long it really takes, and go as an expiry when the clock has come to them."""
    client = network.redis()
    client.call("SET", "a", "v", "PX", 1)
    client.call("SET", "b", "v", "EX", 60)
    network.admin.call("DEBUG", "SLEEP", "0.005")
    assert client.call("GET", "a") == "v"
    assert network.time.expirable == (b"a", b"b")
    assert (network.time.remaining_s(b"b"), network.time.remaining_s(b"c")) == (60.0, None)
    assert network.time.next_deadline_ns() == 1_000_000
    network.clock.set_ns(1_000_000)
    assert network.time.expire_due() == (b"a",)
    assert expired() == ["a"]
    assert client.call("MGET", "a", "b") == [None, "v"]


def test_remaining_ttls_are_virtual_and_follow_the_clock(network: Any) -> None:
    """In replies, inside transactions, and in what scripts see after a realignment."""
    client = network.redis()
    client.call("SET", "a", "v", "EX", 100)
    network.clock.set_ns(40 * 10**9)
    network.time.realign()
    assert (client.call("TTL", "a"), client.call("PTTL", "a")) == (60, 60_000)
    client.ask("PTTL a")
    assert network.deliver() == 60_000  # a history has what the client saw
    client.replies()
    assert client.call("EXPIRETIME", "a") == NOW_S + 100
    assert client.call("EVAL", "return redis.call('TTL', KEYS[1])", 1, "a") == 60
    client.ask("MULTI", "PTTL a", "SET b v EX 10", "TTL b", "PTTL nothing", "EXEC")
    assert network.deliver() == [60_000, "OK", 10, -2]
    assert client.replies()[-1] == [60_000, "OK", 10, -2]


def test_a_transaction_is_followed_command_by_command(network: Any) -> None:
    """Deadlines are known without asking the server, and the bytes of other replies are the server's."""
    client = network.redis(protocol=3)
    client.call("HSET", "h", "f", "v")
    client.ask("MULTI", "SET a v EX 5", "HGETALL h", "SET b v EX 9", "PERSIST b", "INCR h", "TTL a", "EXEC")
    before = network.admin.call("INFO", "commandstats").value
    network.deliver()
    after = network.admin.call("INFO", "commandstats").value
    raw = client.hear()
    assert raw.endswith(
        b"*6\r\n+OK\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n+OK\r\n:1\r\n-WRONGTYPE Operation against a key "
        b"holding the wrong kind of value\r\n:5\r\n"
    )
    assert network.time.expirable == (b"a",)
    assert b"cmdstat_keys" not in after or before.count(b"cmdstat_keys") == after.count(b"cmdstat_keys")


@pytest.mark.parametrize(
    "words",
    [
        *(
            f"EXPIREAT a {NOW_S - 5}",
            "EXPIRE a -5",
            "PEXPIRE a 0",
            f"GETEX a EXAT {NOW_S - 5}",
            f"SET a v PXAT {NOW_S}",
        ),
        f"PEXPIREAT a {NOW_S * 1000}",
    ],
)
def test_a_deadline_in_the_past_is_due_at_once(network: Any, expired: Any, words: str) -> None:
    """After the very exchange that set it, the key is gone, as an expiry."""
    client = network.redis()
    client.call("SET", "a", "v")
    client.call(*words.split())
    assert expired() == ["a"]
    assert client.call("GET", "a") is None
    assert network.time.expirable == ()


def test_a_deadline_in_the_past_inside_a_transaction_waits_for_its_end(network: Any, expired: Any) -> None:
    """A key that the same transaction sets again lives on."""
    client = network.redis()
    client.ask("MULTI", "SET a v", "EXPIRE a -1", "SET a new", "SET b v", "EXPIRE b -1", "EXEC")
    network.deliver()
    assert expired() == ["b"]
    assert client.call("MGET", "a", "b") == ["new", None]


def test_scripts_are_asked_about_afterwards(network: Any, expired: Any) -> None:
    """What they did to ttls is read from the server, also when they end in an error."""
    client = network.redis()
    client.call("EVAL", "redis.call('SET', 'a', 'v', 'EX', 50); redis.call('SET', 'b', 'v', 'EX', 70)", 0)
    assert network.time.expirable == (b"a", b"b")
    assert network.time.remaining_s(b"a") == pytest.approx(50, abs=0.02)
    client.call("EVAL", "redis.call('PERSIST', 'a'); redis.call('PEXPIRE', 'b', -1); error('x')", 0)
    assert network.time.expirable == ()
    assert client.call("MGET", "a", "b") == ["v", None]


def test_streams_are_numbered_by_the_virtual_clock(network: Any) -> None:
    """Ids are greater than all before, whoever made those: the clock, a client, a transaction, a script."""
    client = network.redis()
    now = NOW_S * 1000
    assert client.call("XADD", "s", "*", "f", "v") == f"{now}-0"
    assert client.call("XADD", "s", "*", "f", "v") == f"{now}-1"
    assert client.call("XADD", "s", f"{now + 7}-3", "f", "v") == f"{now + 7}-3"
    assert client.call("XADD", "s", "*", "f", "v") == f"{now + 7}-4"
    assert client.call("XADD", "s", f"{now + 8}-*", "f", "v") == f"{now + 8}-0"
    assert client.call("XADD", "s", "*", "f", "v") == f"{now + 8}-1"
    client.ask("MULTI", f"XADD s {now + 9}-1 f v", "XADD s * f v", "EXEC")
    assert network.deliver() == [f"{now + 9}-1", f"{now + 9}-2"]
    made = client.call("EVAL", "return redis.call('XADD', KEYS[1], '*', 'f', 'v')", 1, "s")
    ms, _, sequence = made.partition("-")
    assert client.call("XADD", "s", "*", "f", "v") == f"{ms}-{int(sequence) + 1}"
    made = client.call("EVAL", "return redis.call('XADD', KEYS[1], '*', 'f', 'v')", 1, "of a script")
    assert client.call("XADD", "of a script", "*", "f", "v").partition("-")[0] == made.partition("-")[0]


def test_a_bad_stream_id_is_the_server_s_to_refuse(network: Any) -> None:
    """And leaves no trace."""
    client = network.redis()
    for words in ("XADD s nonsense f v", "XADD s", "XADD", "XADD s 0-0 f v"):
        assert "error" in client.call(*words.split())
    assert client.call("XADD", "s", "*", "f", "v") == f"{NOW_S * 1000}-0"


def test_an_expiry_is_no_deletion(network: Any, expired: Any) -> None:
    """`expire` publishes `expired`, and what was not there is no error."""
    client = network.redis()
    client.call("SET", "a", "v", "EX", 5)
    network.time.expire(b"a")
    network.time.expire(b"a")
    assert expired() == ["a"]
    assert network.time.next_deadline_ns() is None
    assert network.time.expire_due() == ()


def test_an_expiry_that_the_server_refuses_is_our_fault(network: Any) -> None:
    """A server that knows no import mode, say."""
    network.admin.call("ACL", "SETUSER", "default", "-config")
    try:
        with pytest.raises(HarnessError, match="the cache refused to expire b'a'"):
            network.time.expire(b"a")
    finally:
        network.admin.call("ACL", "SETUSER", "default", "+config")


def test_nobody_can_be_asked_before_the_cache_is_up() -> None:
    """Until `begin` there is no line to it."""
    clock = RunClock.create()
    with pytest.raises(HarnessError, match="the cache is down"):
        CacheClock(clock).catch_up()
    clock.close()


# -- without import mode: keys are given a century --------------------------------------------------------------


@pytest.fixture
def told(ungoverned: Any) -> Any:
    """What was published of keys since the last call, as "happening key"."""
    ungoverned.admin.call("CONFIG", "SET", "notify-keyspace-events", "KEA")
    listener = ungoverned.redis(process=9)
    listener.call("PSUBSCRIBE", "__keyevent@0__:*")

    def read() -> list[str]:
        ungoverned.wire.overhear()
        return [f"{message[2].partition(':')[2]} {message[3]}" for message in listener.replies()]

    return read


def let_real_time_pass(network: Any, seconds: str = "0.01") -> None:
    network.admin.call("BLPOP", "nobody pushes to this", seconds)


def test_without_import_mode_keys_live_in_virtual_time_all_the_same(ungoverned: Any, told: Any) -> None:
    """They are there however long it really takes, and go as an expiry, of which the server knows nothing."""
    client = ungoverned.redis()
    client.call("SET", "a", "v", "PX", 1)
    client.call("SETEX", "b", 60, "v")
    let_real_time_pass(ungoverned)
    assert client.call("GET", "a") == "v"
    assert ungoverned.time.expirable == (b"a", b"b")
    told()
    ungoverned.clock.set_ns(1_000_000)
    assert ungoverned.time.expire_due() == (b"a",)
    assert told() == ["expired a"]
    assert client.call("MGET", "a", "b") == [None, "v"]
    assert ungoverned.time.disturbance() is None


def test_without_import_mode_remaining_ttls_are_virtual(ungoverned: Any) -> None:
    """In replies and inside transactions, before and after time has passed."""
    client = ungoverned.redis()
    client.call("SET", "a", "v", "EX", 100)
    assert (client.call("TTL", "a"), client.call("PTTL", "a")) == (100, 100_000)
    ungoverned.clock.set_ns(40 * 10**9)
    ungoverned.time.realign()
    assert (client.call("TTL", "a"), client.call("EXPIRETIME", "a")) == (60, NOW_S + 100)
    client.ask("MULTI", "SET b v EX 10", "TTL b", "EXPIRE b 5 GT", "TTL b", "EXPIRE b 50 GT", "TTL b", "EXEC")
    assert ungoverned.deliver() == ["OK", 10, 0, 10, 1, 50]
    assert ungoverned.admin.call("PTTL", "a").value == pytest.approx(REPRIEVE_MS + 60_000, abs=1000)


@pytest.mark.parametrize("words", ["EXPIRE a -5", f"SET a v PXAT {NOW_S * 1000}", f"EXPIREAT a {NOW_S - 5}"])
def test_without_import_mode_a_deadline_in_the_past_is_due_at_once(ungoverned: Any, words: str) -> None:
    """No century saves what is over."""
    client = ungoverned.redis()
    client.call("SET", "a", "v")
    client.call(*words.split())
    assert client.call("GET", "a") is None
    assert ungoverned.time.expirable == ()


def test_without_import_mode_what_scripts_set_is_lengthened_afterwards(ungoverned: Any, told: Any) -> None:
    """What they copy keeps its deadline, and nobody who listens to keys hears of the director's part."""
    client = ungoverned.redis()
    client.call("SET", "old", "v", "EX", 90)
    told()
    client.call("EVAL", "redis.call('SET', 'a', 'v', 'EX', 50); redis.call('RENAME', 'old', 'new')", 0)
    assert ungoverned.time.expirable == (b"a", b"new")
    assert ungoverned.time.remaining_s(b"a") == pytest.approx(50, abs=0.02)
    assert ungoverned.time.remaining_s(b"new") == pytest.approx(90, abs=1)
    assert told() == ["set a", "expire a", "rename_from old", "rename_to new"]
    for key in ("a", "new"):
        assert ungoverned.admin.call("PTTL", key).value > REPRIEVE_MS
    client.call("EVAL", "return redis.call('GET', 'a')", 0)
    assert ungoverned.time.remaining_s(b"a") == pytest.approx(50, abs=0.02)
    assert told() == []
    assert ungoverned.time.disturbance() is None


def test_without_import_mode_a_script_that_asks_for_a_ttl_is_not_to_be_judged(ungoverned: Any) -> None:
    """It would see a century; to try again would not help."""
    client = ungoverned.redis()
    client.call("EVAL", "return redis.call('TTL', KEYS[1])", 1, "a")
    disturbance = ungoverned.time.disturbance()
    assert disturbance.reason.startswith("a script asks for a key's time to live") and not disturbance.again
    ungoverned.time.rejoin(ungoverned.admin)
    assert ungoverned.time.disturbance() is disturbance
    ungoverned.time.begin(ungoverned.admin)
    assert ungoverned.time.disturbance() is None


def test_without_import_mode_the_server_tells_what_it_did_by_itself(ungoverned: Any) -> None:
    """A key that real time has expired, one that was evicted: another try may do better."""
    ungoverned.admin.call("PSETEX", "z", 1, "v")
    let_real_time_pass(ungoverned)
    assert ungoverned.admin.call("GET", "z").value is None
    disturbance = ungoverned.time.disturbance()
    assert disturbance.again
    assert disturbance.reason.startswith(
        "1 keys were expired by the server's own clock in the middle of a run"
    )
    ungoverned.time.begin(ungoverned.admin)
    ungoverned.admin.call("SET", "y", "v")
    ungoverned.admin.call_many([("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", 1)])
    ungoverned.admin.call("SET", "y", "v")
    ungoverned.admin.call_many([("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", 0)])
    assert "1 keys were evicted by the server for want of memory" in ungoverned.time.disturbance().reason


def test_without_import_mode_an_image_is_put_back_with_its_century(ungoverned: Any) -> None:
    """As clients would have set it; what has none gets none."""
    client = ungoverned.redis()
    client.call("SET", "a", "v", "EX", 50)
    client.call("SET", "b", "v")
    image = take_image(ungoverned.time, 0)
    ungoverned.admin.call("FLUSHALL")
    ungoverned.time.forget_all()
    put_back(image, ungoverned.time)
    assert ungoverned.admin.call("PTTL", "a").value > REPRIEVE_MS
    assert ungoverned.admin.call("PTTL", "b").value == -1
    assert client.call("TTL", "a") == 50


def test_nothing_is_told_of_a_key_that_was_not_there(ungoverned: Any, told: Any) -> None:
    """Neither an eviction nor an expiry."""
    ungoverned.time.evict(b"nothing")
    ungoverned.time.expire(b"nothing")
    assert told() == []


def test_an_eviction_is_no_deletion_and_only_told_to_who_listens(ungoverned: Any, told: Any) -> None:
    """By key, by happening, or not at all, as the server is set."""
    client = ungoverned.redis()
    for flags, expected in (("KEA", ["evicted a"]), ("Kg", []), ("Ee", ["evicted a"]), ("Ke", [])):
        ungoverned.admin.call("CONFIG", "SET", "notify-keyspace-events", flags)
        client.call("SET", "a", "v")
        told()
        ungoverned.time.evict(b"a")
        assert told() == expected
    assert client.call("GET", "a") is None


def test_what_the_server_refuses_the_director_is_our_fault(ungoverned: Any) -> None:
    """A server whose settings may not be changed, say."""
    ungoverned.admin.call("ACL", "SETUSER", "default", "-publish")
    ungoverned.admin.call("CONFIG", "SET", "notify-keyspace-events", "KEA")
    ungoverned.admin.call("SET", "a", "v")
    try:
        with pytest.raises(HarnessError, match="the cache refused .*'UNLINK', b'a'"):
            ungoverned.time.evict(b"a")
    finally:
        ungoverned.admin.call("ACL", "SETUSER", "default", "+publish")
        ungoverned.admin.call("DISCARD")
