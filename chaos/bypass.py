"""Around the wire: connections of a client that the run does not control, and so cannot judge.

Two ways to see them, for neither sees everything:

    watch_connects       inside the client: every connect of Python's sockets, however short it lives
    connections_around   from outside, at one moment: what is open, by whatever code it was opened (Linux)

Only streams count.  Datagrams (metrics, logs, name look-ups) carry no answer that a cache could return, and a
pair of sockets that a process made for itself leads nowhere.
"""

import os
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from ipaddress import IPv6Address, ip_address
from typing import Any

__all__ = ["connections_around", "watch_connects"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLM_F_DUMP = 0x300
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_INET_REQUEST = struct.Struct("=BBBBI")
_SOCKET_ID = struct.Struct("!HH16s16sI8x")
_INODE = struct.Struct("=I")
_ID_AT, _INODE_AT = 4, 68  # in struct inet_diag_msg
_CONNECTED = 0xFFFFFFFF & ~(1 << 6 | 1 << 7 | 1 << 10)  # not TIME_WAIT, CLOSE, LISTEN
_UNIX_REQUEST = struct.Struct("=BBHIIIii")
_UNIX_ANSWER = struct.Struct("=BBBBIII")
_SHOW_NAME_AND_PEER = 1 | 4
_NAME, _PEER = 0, 2


def watch_connects(ports: Collection[int]) -> list[str]:
    """From now on, note every address that this process connects to, except these ports of loopback.

    Returns the list that addresses are appended to, each once.  For the life of the process: the interpreter
    has no way to take an audit hook back.
    """
    found: list[str] = []

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = _around(args[0], args[1], ports)
            if address is not None and address not in found:
                found.append(address)

    sys.addaudithook(hear)
    return found


def _around(connecting: Any, address: Any, ports: Collection[int]) -> str | None:
    """Where a socket connects to, in words; None if that is on the wire, or no stream."""
    if connecting.type != socket.SOCK_STREAM:
        return None
    if connecting.family == socket.AF_UNIX:
        return os.fsdecode(address)
    if connecting.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    host, port = str(address[0]), address[1]
    return None if port in ports and _is_loopback(host) else _joined(host, port)


def _is_loopback(host: str) -> bool:
    try:
        found = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connections_around(pid: int, ports: Collection[int]) -> list[str]:
    """Where the open connections of a process lead to, sorted, except to these ports of loopback.

    Empty for a process that is gone.
    """
    inodes = set(_sockets(pid))
    if not inodes:
        return []
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    ) as line:
        line.bind((0, 0))
        found = {
            _joined(host, port)
            for inode, host, port in _tcp(line)
            if inode in inodes and not (port in ports and _is_loopback(host))
        }
        return sorted(found | set(_unix_paths(line, inodes)))


def _sockets(pid: int) -> Iterator[int]:
    """The inodes of the sockets that a process holds."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:  # closed while we looked
            continue
        if target.startswith("socket:["):
            yield int(target[len("socket:[") : -1])


def _tcp(line: socket.socket) -> Iterator[tuple[int, str, int]]:
    """(inode, host, port of the other end) of every TCP connection of this machine."""
    for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        body = _INET_REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _CONNECTED) + bytes(_SOCKET_ID.size)
        for answer in _ask(line, body, _NLM_F_DUMP):
            _, port, _, host = _SOCKET_ID.unpack_from(answer, _ID_AT)[:4]
            (inode,) = _INODE.unpack_from(answer, _INODE_AT)
            yield inode, socket.inet_ntop(family, host[:size]), port


def _unix_paths(line: socket.socket, inodes: Collection[int]) -> Iterator[str]:
    """The paths at which the unix stream sockets among these are connected: the names of their peers."""
    for inode in inodes:
        peer = _unix(line, inode).get(_PEER)
        if peer is not None and (name := _unix(line, int.from_bytes(peer, sys.byteorder)).get(_NAME)):
            yield os.fsdecode(name.rstrip(b"\0")).replace("\0", "@")


def _unix(line: socket.socket, inode: int) -> dict[int, bytes]:
    """What the kernel tells of one unix stream socket, by attribute; empty if it is none."""
    body = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, _SHOW_NAME_AND_PEER, -1, -1)
    found: dict[int, bytes] = {}
    for answer in _ask(line, body, 0):
        at = _UNIX_ANSWER.size
        if _UNIX_ANSWER.unpack_from(answer)[1] != socket.SOCK_STREAM:
            continue
        while at + _ATTRIBUTE.size <= len(answer):
            length, name = _ATTRIBUTE.unpack_from(answer, at)
            found[name] = answer[at + _ATTRIBUTE.size : at + length]
            at += (length + 3) & ~3
    return found


def _ask(line: socket.socket, body: bytes, flags: int) -> Iterator[bytes]:
    """The answers of the kernel to one question about sockets, without their headers; none if it refuses."""
    size = _HEADER.size + len(body)
    line.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | flags, 1, 0) + body)
    while True:
        data = line.recv(1 << 16)
        at = 0
        while at < len(data):
            length, kind = _HEADER.unpack_from(data, at)[:2]
            if kind != _SOCK_DIAG_BY_FAMILY:  # the end of a list, or an error
                return
            yield data[at + _HEADER.size : at + length]
            at += (length + 3) & ~3
        if not flags:
            return
