"""A connection to the cache through the wire: set-up, transactions, listening, blocking, pools."""

from typing import Any

import pytest

from cacheproof.chaos.wire.resp import CommandParser, encode_command
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.models.refusal import REFUSALS

FIRST = 1_000_000


# ── set-up ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_set_up_is_answered_without_reaching_the_server(network: Any) -> None:
    """HELLO, CLIENT SETINFO, SELECT 0 and the like make no connection to the server and no exchange."""
    network.redis().say("HELLO 2", "HELLO 3", "CLIENT SETINFO LIB-NAME x")  # asked once, on a line of its own
    before = network.admin.call("INFO", "stats").value
    client = network.redis()
    heard = client.say("HELLO 2", "HELLO 3", "CLIENT SETINFO LIB-NAME x", "CLIENT ID", "SELECT 0")
    assert heard[0][:6] == ["server", "valkey", "version", heard[1]["version"], "proto", 2]
    assert heard[1]["proto"] == 3
    assert heard[1]["id"] == heard[3] == FIRST + 1
    assert (heard[2], heard[4]) == ("OK", "OK")
    assert client.link.upstream is None and network.pending() == []
    after = network.admin.call("INFO", "stats").value
    connections = [
        line for line in (before, after) for line in line.split(b"\r\n") if b"connections_rec" in line
    ]
    assert connections[0] == connections[1]


def test_a_refused_hello_leaves_the_protocol_as_it_is(network: Any) -> None:
    """Version 4 and a wrong password are errors, and RESP2 goes on."""
    client = network.redis()
    heard = client.say("HELLO 4", "HELLO 3 AUTH nobody nothing")
    assert [list(item) for item in heard] == [["error"], ["error"]]
    client.call("HSET", "a", "f", "1")
    client.send(encode_command("HGETALL", "a"))
    network.deliver()
    assert client.hear() == b"*2\r\n$1\r\nf\r\n$1\r\n1\r\n"


def test_the_protocol_changes_in_its_turn(network: Any) -> None:
    """A HELLO behind a held exchange changes nothing for that one."""
    client = network.redis()
    client.call("HSET", "a", "f", "1")
    client.ask("HGETALL a", "HELLO 3", "HGETALL a")
    network.deliver()
    assert client.hear().startswith(b"*2\r\n$1\r\nf\r\n$1\r\n1\r\n%")
    network.deliver()
    assert client.hear() == b"%1\r\n$1\r\nf\r\n$1\r\n1\r\n"


def test_a_name_is_remembered_and_reset_forgets_all(network: Any) -> None:
    """RESET makes a new connection of an old one, in RESP2; it stays an import source."""
    client = network.redis(protocol=3)
    client.call("WATCH", "a")
    assert client.say("CLIENT SETNAME x", "CLIENT GETNAME", "RESET", "CLIENT GETNAME") == [
        "OK",
        "x",
        "RESET",
        None,
    ]
    client.call("PSETEX", "b", 1, "soon")
    assert client.call("GET", "b") == "soon"
    assert network.admin.call("GET", "b").value == b"soon"
    assert client.link.release_upstream()


def test_quit_ends_the_connection_in_order(network: Any) -> None:
    """It is answered, and then the connection closes; what was behind it is gone."""
    client = network.redis()
    assert client.say("QUIT", "CLIENT GETNAME", "GET a") == ["OK"]
    assert not client.is_reset()
    assert network.links() == []


def test_quit_waits_for_its_turn(network: Any) -> None:
    """A held exchange in front of it is answered first."""
    client = network.redis()
    client.ask("GET a", "QUIT")
    network.deliver()
    assert client.replies() == [None, "OK"]
    assert not client.is_reset()
    assert network.links() == []


def test_another_database_is_a_matter_of_the_server(network: Any) -> None:
    """SELECT 1 passes, and after it SELECT 0 passes as well; the connection is closed in the end."""
    client = network.redis()
    assert client.say("SELECT 1") == ["OK"]
    client.call("SET", "a", "other")
    assert client.say("SELECT 0") == ["OK"]
    assert client.call("GET", "a") is None
    assert not client.link.release_upstream()
    network.admin.call("FLUSHALL")


def test_time_is_told_by_the_clock_of_the_run(network: Any) -> None:
    """At its turn, not when it was asked; inside a transaction too."""
    client = network.redis()
    client.ask("GET a", "TIME")
    network.clock.set_ns(1_500_000_000)
    network.deliver()
    assert client.replies() == [None, ["1577836801", "500000"]]
    client.ask("MULTI", "TIME", "SET a 1", "EXEC")
    assert network.deliver() == [["1577836801", "500000"], "OK"]


def test_what_cannot_be_controlled_is_refused(network: Any) -> None:
    """An error from the wire; the server never sees it, and the connection goes on."""
    client = network.redis()
    for words in (
        "CLIENT REPLY OFF",
        "CLIENT REPLY SKIP",
        "MONITOR",
        "SYNC",
        "SHUTDOWN NOSAVE",
        "CLIENT PAUSE 9",
    ):
        (heard,) = client.say(words)
        assert "not supported under cacheproof" in heard["error"]
    assert client.say("CLIENT REPLY ON") == ["OK"]
    assert client.call("SET", "a", 1) == "OK"


# ── transactions ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pipelined_transaction_is_one_exchange(network: Any) -> None:
    """All of it is held; its keys and words are those of what it will do."""
    client = network.redis()
    assert client.say("MULTI", "SET a 1", "INCR b", "EXEC") == []
    (pending,) = network.pending()
    assert (pending.verb, pending.request, pending.keys) == (
        *("SET; INCR", ("SET", "a", "1", ";", "INCR", "b")),
        ("a", "b"),
    )
    assert network.deliver() == ["OK", 1]
    assert client.replies() == ["OK", "QUEUED", "QUEUED", ["OK", 1]]


def test_a_transaction_step_by_step_is_the_same_exchange(network: Any) -> None:
    """QUEUED comes from the server at once, since it shows nothing to anybody; only EXEC is held."""
    client = network.redis()
    for words, heard in (("MULTI", "OK"), ("SET a 1", "QUEUED"), ("INCR b", "QUEUED")):
        assert client.say(words) == [heard]
    assert network.pending() == []
    assert client.say("EXEC") == []
    (pending,) = network.pending()
    assert (pending.verb, pending.keys) == ("SET; INCR", ("a", "b"))
    assert network.admin.call("EXISTS", "a", "b").value == 0
    assert network.deliver() == ["OK", 1]
    assert client.replies() == [["OK", 1]]


@pytest.mark.parametrize("at_once", [True, False])
def test_discard_passes(network: Any, at_once: bool) -> None:
    """Nothing happened, so nothing is held."""
    client, commands = network.redis(), ["MULTI", "SET a 1", "DISCARD"]
    heard = client.say(*commands) if at_once else [item for words in commands for item in client.say(words)]
    assert heard == ["OK", "QUEUED", "OK"]
    assert network.pending() == []
    assert client.call("GET", "a") is None
    assert client.link.release_upstream()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("NOSUCH", "unknown command"),
        ("SET a", "wrong number of arguments"),
        ("CLIENT REPLY OFF", "CLIENT REPLY OFF is not supported under cacheproof"),
        ("SUBSCRIBE x y", "SUBSCRIBE between MULTI and EXEC is not supported"),
        ("MULTI", "not allowed inside a transaction"),
    ],
)
def test_a_command_that_cannot_be_queued_ends_the_transaction(
    network: Any, bad: str, says: str, at_once: bool
) -> None:
    """Every reply is paired, EXEC says that nothing was done, and the connection is in step afterwards."""
    client, commands = network.redis(), ["MULTI", "SET a 1", bad, "EXEC"]
    heard = client.say(*commands) if at_once else [item for words in commands for item in client.say(words)]
    assert network.deliver()["error"].startswith("EXECABORT")
    heard += client.replies()
    assert heard[:2] == ["OK", "QUEUED"]
    assert says in heard[2]["error"]
    assert heard[3]["error"].startswith("EXECABORT")
    assert client.call("GET", "a") is None
    assert client.link.release_upstream() == ("not supported" not in says)


def test_a_transaction_whose_request_is_lost_leaves_nothing_behind(network: Any) -> None:
    """The server was told MULTI already, so that connection is closed, and the next one is in none."""
    client = network.redis()
    client.say("MULTI")
    client.say("SET a 1")
    client.ask("EXEC")
    number = client.link.upstream.id
    network.wire.reset(client.link)
    other = network.redis()
    assert other.call("SET", "a", "2") == "OK"
    assert other.link.upstream.id != number


def test_reset_ends_a_transaction(network: Any) -> None:
    """The next command is none of it."""
    client = network.redis()
    assert client.say("MULTI", "SET a 1", "RESET") == ["OK", "QUEUED", "RESET"]
    assert client.call("GET", "a") is None


# ── pools ───────────────────────────────────────────────────────────────────────────────────────────────────


def reused(network: Any, *commands: str) -> bool:
    """Whether the server's side serves the next client, when one leaves after these commands."""
    client = network.redis()
    for words in commands:
        client.call(*words.split())
    number = client.link.upstream.id
    client.socket.close()
    network.until(lambda: not client.link.connected)
    following = network.redis()
    following.call("GET", "b")
    return following.link.upstream.id == number


def test_clean_connections_go_back_to_the_pool(network: Any) -> None:
    """Names and ordinary commands leave nothing behind, and neither does a transaction."""
    assert reused(network, "GET a", "CLIENT SETNAME x", "CLIENT NO-TOUCH ON", "SET a 1")
    assert reused(network, "MULTI", "SET a 1", "EXEC")


@pytest.mark.parametrize(
    "words", ["WATCH a", "SUBSCRIBE x", "CLIENT TRACKING ON", "SELECT 1", "SCRIPT DEBUG NO"]
)
def test_connections_on_which_something_lasting_was_said_are_closed(network: Any, words: str) -> None:
    """Whatever it was, the next client gets another connection."""
    assert not reused(network, "GET a", words)


def test_a_connection_to_a_killed_cache_never_returns_to_the_pool(network: Any) -> None:
    """After a kill and a start, whoever held a connection gets a new one."""
    client = network.redis()
    client.call("SET", "a", "1")
    network.admin.close()
    network.servers.cache.kill()
    network.cache.pool.clear()
    network.wire.refuse(client.link.server)
    network.wire.reset(client.link)
    network.servers.cache.start()
    network.begin_cache()
    network.wire.admit(client.link.server)
    assert network.redis().call("GET", "a") is None


# ── listening ───────────────────────────────────────────────────────────────────────────────────────────────


def publish(network: Any, *words: str) -> None:
    assert isinstance(network.admin.call("PUBLISH", *words).value, int)
    network.wire.overhear()


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_subscription_to_several_channels_is_one_exchange_with_several_answers(
    network: Any, protocol: int
) -> None:
    """In RESP2 and RESP3; what follows is paired with its own reply."""
    client = network.redis(protocol=protocol)
    assert client.say("SUBSCRIBE x y z", "PSUBSCRIBE p*", "PING") == []
    assert network.deliver() == ["subscribe", "z", 3]
    assert client.replies() == [["subscribe", "x", 1], ["subscribe", "y", 2], ["subscribe", "z", 3]]
    assert network.deliver() == ["psubscribe", "p*", 4]
    assert network.deliver() == (["pong", ""] if protocol == 2 else "PONG")
    client.replies()
    client.ask("UNSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "PING")
    assert network.deliver()[0::2] == ["unsubscribe", 1]
    assert len(client.replies()) == 3
    assert network.deliver() == ["unsubscribe", None, 1]
    assert network.deliver() == ["punsubscribe", "p*", 0]
    assert network.deliver() == "PONG"


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_subscription_that_is_refused_has_one_answer(network: Any, protocol: int) -> None:
    """An error, and what follows is in step."""
    client = network.redis(protocol=protocol)
    assert "wrong number of arguments" in client.call("SUBSCRIBE")["error"]
    assert client.call("PING") == "PONG"


@pytest.mark.parametrize("protocol", [2, 3])
def test_messages_are_passed_on(network: Any, protocol: int) -> None:
    """What others publish comes without a decision, at once and in order; a clean client hears nothing."""
    client = network.redis(protocol=protocol)
    client.call("SUBSCRIBE", "x")
    client.call("PSUBSCRIBE", "p*")
    for number in range(200):
        publish(network, "x", str(number))
        assert client.replies() == [["message", "x", str(number)]]
    publish(network, "pq", "1")
    assert client.replies() == [["pmessage", "p*", "pq", "1"]]
    assert not network.wire.overhear()


@pytest.mark.parametrize("protocol", [2, 3])
def test_messages_between_a_request_and_its_reply_are_no_replies(network: Any, protocol: int) -> None:
    """They are passed on in front of it, and the reply is the reply."""
    client = network.redis(protocol=protocol)
    client.call("SUBSCRIBE", "x")
    network.admin.call("PUBLISH", "x", "1")
    client.ask("PING", "SUBSCRIBE y")
    pong = ["pong", ""] if protocol == 2 else "PONG"
    assert network.deliver() == pong
    assert client.replies() == [["message", "x", "1"], pong]
    network.admin.call("PUBLISH", "x", "2")
    assert network.deliver() == ["subscribe", "y", 2]
    assert client.replies() == [["message", "x", "2"], ["subscribe", "y", 2]]


def test_an_array_that_looks_like_a_message_is_a_reply_where_nobody_subscribed(network: Any) -> None:
    """LRANGE of a list that holds the words of a message, with tracking on."""
    client = network.redis()
    client.call("CLIENT", "TRACKING", "ON", "REDIRECT", client.say("CLIENT ID")[0])
    client.call("RPUSH", "a", "message", "x", "1")
    assert client.call("LRANGE", "a", 0, -1) == ["message", "x", "1"]


def test_invalidations_come_as_pushes(network: Any) -> None:
    """CLIENT TRACKING in RESP3, asked for in lower case."""
    client, other = network.redis(protocol=3), network.redis()
    assert client.say("client tracking on") == ["OK"]
    client.call("GET", "a")
    other.call("SET", "a", 1)
    assert network.wire.overhear()
    assert client.replies() == [["invalidate", ["a"]]]


def test_invalidations_are_redirected_to_the_link_that_was_named(network: Any) -> None:
    """With RESP2, CLIENT ID of one connection and REDIRECT on another, as client-side caches do it."""
    listener, reader, writer = network.redis(), network.redis(), network.redis()
    number = listener.say("CLIENT ID")[0]
    listener.call("SUBSCRIBE", "__redis__:invalidate")
    assert reader.say(f"CLIENT TRACKING ON REDIRECT {number}") == ["OK"]
    reader.call("GET", "a")
    writer.call("SET", "a", 1)
    assert network.wire.overhear()
    assert listener.replies() == [["message", "__redis__:invalidate", ["a"]]]


def test_a_listener_that_the_server_ends_sees_the_end(network: Any) -> None:
    """CLIENT KILL by another client, who names the link."""
    listener, killer = network.redis(), network.redis()
    number = listener.say("CLIENT ID")[0]
    listener.call("SUBSCRIBE", "x")
    assert killer.call("CLIENT", "KILL", "ID", number) == 1
    assert network.wire.overhear()
    assert not listener.is_reset()


# ── blocking ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_blocking_command_blocks_for_ever_at_the_server(network: Any) -> None:
    """Its own time-out is the director's to keep: the server is told 0, and ended by UNBLOCK."""
    client, monitor = network.redis(), RedisUpstream(network.servers.cache.address, 2)
    monitor.call("MONITOR")
    client.ask("BLPOP a 0.01")
    (pending,) = network.pending()
    assert pending.blocks_s == 0.01
    pending.link.transmit(pending)
    pending.delivered = True
    assert network.wire.waiting() == [pending] and network.pending() == []
    seen: list[bytes] = []
    network.until(
        lambda: seen.extend(reply.value for reply in monitor.replies()) or b'"BLPOP"' in b"".join(seen)
    )
    assert b'"BLPOP" "a" "0"' in b"".join(seen)
    assert pending.link.collect(pending, 0.0) is None
    number = client.link.upstream.id
    network.until(lambda: b" flags=b" in network.admin.call("CLIENT", "LIST", "ID", number).value)
    network.admin.call("CLIENT", "UNBLOCK", number, "TIMEOUT")
    answer = pending.link.collect(pending, None)
    assert (answer.raw, answer.reply) == (b"*-1\r\n", None)
    monitor.close()


def test_what_is_overheard_while_an_answer_is_due_is_told_once(network: Any) -> None:
    """A push that comes first is passed on at once; one that comes with the answer is handed on with it."""
    client, other = network.redis(protocol=3), network.redis(process=1)
    client.say("CLIENT TRACKING ON")
    client.call("GET", "b")
    client.ask("BLPOP a 0")
    pending = network.pending()[0]
    pending.link.transmit(pending)
    pending.delivered = True
    other.call("SET", "b", 1)
    assert network.wire.overhear()
    assert client.replies() == [["invalidate", ["b"]]]
    other.call("RPUSH", "a", "x")
    assert not network.wire.overhear()
    answer = pending.link.collect(pending, 0.0)
    assert answer.reply == ["a", "x"]
    client.link.send(answer.raw)
    network.wire.finish(pending)
    assert client.replies() == [["a", "x"]]


def test_a_blocked_client_is_served_by_another_and_by_unblock(network: Any) -> None:
    """The reply is a later event; a client that unblocks another names its link."""
    waiting, other = network.redis(), network.redis(process=1)
    for how in (("RPUSH", "a", "x"), ("CLIENT", "UNBLOCK", waiting.link.id)):
        waiting.ask("BLPOP a 0")
        pending = network.pending()[0]
        pending.link.transmit(pending)
        pending.delivered = True
        flags = ("CLIENT", "LIST", "ID", waiting.link.upstream.id)
        network.until(lambda flags=flags: b" flags=b" in network.admin.call(*flags).value)
        assert other.call(*how) == 1
        answer = pending.link.collect(pending, None)
        assert answer.reply == (["a", "x"] if how[0] == "RPUSH" else None)
        network.wire.finish(pending)


def test_a_blocked_connection_is_never_pooled(network: Any) -> None:
    """A client that leaves while it is blocked takes the server's side with it, and swallows nothing."""
    client = network.redis()
    client.ask("BLPOP a 0")
    pending = network.pending()[0]
    pending.link.transmit(pending)
    pending.delivered = True
    number = client.link.upstream.id
    network.wire.reset(client.link)
    network.until(lambda: b"id=%d " % number not in network.admin.call("CLIENT", "LIST").value)
    assert network.redis(process=1).call("RPUSH", "a", "x") == 1


def test_a_reply_that_comes_in_pieces_is_collected_whole(network: Any) -> None:
    """A large reply is no end of the wait, whether it is waited for or asked for again and again."""
    value = "v" * 3_000_000
    network.admin.call("SET", "a", value)
    client = network.redis()
    for wait_s in (None, 0.0):
        client.ask("GET a")
        pending = network.pending()[0]
        pending.link.transmit(pending)
        answer = None
        while answer is None:
            answer = pending.link.collect(pending, wait_s)
        assert answer.raw == b"$3000000\r\n%b\r\n" % value.encode()
        assert answer.reply.startswith("v" * 200 + "… (3000000 bytes")
        network.wire.finish(pending)


def test_commands_are_told_apart_from_what_is_special(network: Any) -> None:
    """Whatever is no set-up is held, whatever it is called, and in any case of letters."""
    client = network.redis()
    for words in ("ping", "nosuch thing", "client kill id 5", "wait 0 100"):
        client.ask(words)
        assert network.words() == [words]
        network.deliver()
    assert CommandParser().feed(encode_command("get"))[0].name == "GET"


# ── errors in the place of a reply ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "met"),
    [
        ("GET a", {"busy", "loading", "moved"}),
        ("SET a 1", {"busy", "loading", "moved", "oom", "readonly"}),
        ("DEL a", {"busy", "loading", "moved", "readonly"}),
        ("EVALSHA abc 1 a", {"busy", "loading", "moved", "oom", "readonly"}),
        ("PING", {"busy", "loading"}),
        ("PUBLISH news x", {"busy"}),
        ("SUBSCRIBE news", {"busy"}),
        ("NOSUCH a", {"busy", "loading"}),
    ],
)
def test_which_errors_a_command_can_meet(network: Any, words: str, met: set[str]) -> None:
    """Those that the server could give it: a read is never out of memory, and PUBLISH does not wait for a file."""
    network.redis().ask(words)
    (pending,) = network.pending()
    assert {name for name, item in REFUSALS.items() if pending.link.can_refuse(pending, item)} == met


def test_the_errors_are_the_server_s_own(network: Any) -> None:
    """Where it can be brought to give them without a file, a cluster or a script that never ends."""
    client, admin = network.redis(), network.admin
    admin.call("CONFIG", "SET", "maxmemory", "1")
    out_of_memory = client.call("SET", "a", "1")
    admin.call("CONFIG", "SET", "maxmemory", "0")
    admin.call("REPLICAOF", "127.0.0.1", "1")
    read_only = client.call("SET", "a", "1")
    admin.call("REPLICAOF", "NO", "ONE")
    for name, said in (("oom", out_of_memory), ("readonly", read_only)):
        assert said == {"error": f"{REFUSALS[name].code} {REFUSALS[name].words}"}


def refuse(network: Any, client: Any, name: str) -> Any:
    """Refuse the exchange that waits; returns what a history has of it."""
    (pending,) = network.pending()
    answer = pending.link.refuse(pending, REFUSALS[name])
    client.link.send(answer.raw)
    network.wire.finish(pending)
    assert answer.failed
    return answer.reply


def test_a_command_that_is_refused_does_nothing(network: Any) -> None:
    """The server never hears of it, and the connection goes on."""
    client = network.redis()
    client.ask("SET a 1")
    error = {"error": "OOM command not allowed when used memory > 'maxmemory'."}
    assert refuse(network, client, "oom") == error
    assert client.replies() == [error]
    assert client.link.upstream is None and client.call("GET", "a") is None


def test_a_transaction_fails_because_of_what_is_refused_in_it(network: Any) -> None:
    """Commands that the error cannot meet are queued all the same; EXEC tells of an error before it."""
    client = network.redis()
    client.ask("MULTI", "GET a", "SET a 1", "DEL b", "EXEC")
    assert network.pending()[0].link.can_refuse(network.pending()[0], REFUSALS["oom"])
    refuse(network, client, "oom")
    ok, queued, refused, also, aborted = client.replies()
    assert (ok, queued, also) == ("OK", "QUEUED", "QUEUED")
    assert refused["error"].startswith("OOM ")
    assert aborted == {"error": "EXECABORT Transaction discarded because of previous errors."}
    assert network.admin.call("EXISTS", "a").value == 0


def test_a_transaction_that_is_queued_already_is_discarded(network: Any) -> None:
    """EXEC itself tells of the error, and nothing of it happens, then or later."""
    client = network.redis()
    assert client.say("MULTI") == ["OK"] and client.say("SET a 1") == ["QUEUED"]
    client.ask("EXEC")
    refuse(network, client, "readonly")
    (aborted,) = client.replies()
    assert aborted["error"].startswith("EXECABORT Transaction discarded because of: READONLY You can't write")
    assert client.call("SET", "b", "2") == "OK"
    assert network.admin.call("MGET", "a", "b").value == (None, b"2")


def test_a_refused_transaction_watches_nothing_any_more(network: Any) -> None:
    """As after any EXEC: the next one is not hindered by what was watched for the last."""
    client = network.redis()
    client.call("WATCH", "a")
    client.ask("MULTI", "SET b 1", "EXEC")
    refuse(network, client, "loading")
    client.replies()
    network.admin.call("SET", "a", "other")
    client.ask("MULTI", "SET b 2", "EXEC")
    assert network.deliver() == ["OK"]
