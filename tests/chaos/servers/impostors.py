"""Servers that are not what they should be, each a thread that answers one connection after another."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from cacheproof.chaos.wire.pgmessages import encode
from cacheproof.chaos.wire.resp import CommandParser, encode_bulk, encode_error, encode_integer, encode_simple

Answer = Callable[[socket.socket], None]


@contextmanager
def impostor(answer: Answer) -> Iterator[int]:
    """`answer` has each connection for itself; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    line.settimeout(5)
                    try:
                        answer(line)
                    except (OSError, ConnectionError):
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield port
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def says(text: bytes) -> Answer:
    """One that says the same to everybody, and leaves."""

    def answer(line: socket.socket) -> None:
        line.recv(1 << 16)
        line.sendall(text)

    return answer


REDIS_FACTS = {
    "redis_version": "7.0.15",
    "run_id": "abc",
    "role": "master",
    "redis_mode": "standalone",
    "loading": "0",
}


def redis(
    facts: Mapping[str, str] = {},
    *,
    settings: Mapping[str, str] = {"timeout": "0"},
    refuses: tuple[str, ...] = (),
    heard: list[str] | None = None,
) -> Answer:
    """One that says of itself what a Redis says, with `facts` in the place of its own."""
    told = {**REDIS_FACTS, **facts}
    info = "".join(f"{name}:{value}\r\n" for name, value in told.items() if value != "-")

    def reply(words: list[str]) -> bytes:
        said = " ".join(words)
        if heard is not None:
            heard.append(said)
        if any(said.startswith(refused) for refused in refuses):
            return encode_error(f"NOPERM this user has no permissions to run {words[0].lower()}")
        match words[0]:
            case "INFO":
                return encode_bulk(info.encode(), False)
            case "CONFIG" if words[1] == "GET":
                found = [part for name, value in settings.items() for part in (name, value)]
                parts = [encode_bulk(part.encode(), False) for part in found]
                return b"*%d\r\n" % len(parts) + b"".join(parts)
            case "CLIENT" if words[1] == "ID":
                return encode_integer(1)
        return encode_simple("OK")

    def answer(line: socket.socket) -> None:
        parser = CommandParser()
        while data := line.recv(1 << 16):
            commands = parser.feed(data)
            line.sendall(b"".join(reply([part.decode() for part in item.args]) for item in commands))

    return answer


def postgres(*rows: tuple[str, ...], pid: int = 7) -> Answer:
    """One that lets everybody in, and answers its queries with these rows, one each."""

    def answer(line: socket.socket) -> None:
        line.recv(1 << 16)
        ready = encode(b"Z", b"I")
        line.sendall(encode(b"R", bytes(4)) + encode(b"K", struct.pack("!II", pid, 0)) + ready)
        for row in rows:
            if not line.recv(1 << 16):
                return
            columns = b"".join(
                b"c\0" + struct.pack("!IHIHIH", 0, 0, _TYPES[item[0]], 4, 0, 0) for item in row
            )
            values = b"".join(struct.pack("!I", len(item[1:])) + item[1:].encode() for item in row)
            line.sendall(
                encode(b"T", struct.pack("!H", len(row)) + columns)
                + encode(b"D", struct.pack("!H", len(row)) + values)
                + encode(b"C", b"SELECT 1\0")
                + ready
            )

    return answer


_TYPES = {"t": 25, "i": 23, "b": 16}
"""The first letter of a value says what it is: text, integer, boolean."""
