"""Ports that stay free while their server is down."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproof.chaos.servers import ports as module
from cacheproof.chaos.servers.ports import free_ports
from cacheproof.models.errors import EnvironmentFault


@pytest.fixture
def kernel_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "ip_local_port_range"
    monkeypatch.setattr(module, "_RANGE", path)
    yield path


def test_ports_are_free_and_different() -> None:
    """Each can be bound, also all at once."""
    found = free_ports(5)
    assert len(set(found)) == 5
    listeners = [socket.create_server(("127.0.0.1", port)) for port in found]
    for listener in listeners:
        listener.close()


def test_the_kernel_does_not_give_them_away() -> None:
    """They lie outside the range from which a connection gets its own end."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert all(not low <= port <= high for port in free_ports(20))


@pytest.mark.parametrize(
    ("said", "lowest", "highest"),
    [
        ("32768\t60999\n", 15_000, 32_767),
        ("1024 60999", 61_000, 65_535),
        ("1024 65535", 15_000, 65_535),
        (None, 15_000, 32_767),
    ],
)
def test_which_ports(kernel_says: Path, said: str | None, lowest: int, highest: int) -> None:
    """Below the kernel's range, else above it, else anywhere; where it is not known, as usual."""
    if said is not None:
        kernel_says.write_text(said)
    assert all(lowest <= port <= highest for port in free_ports(30))


def test_no_port_is_left(kernel_says: Path) -> None:
    """With what was looked at."""
    kernel_says.write_text(f"1024 {65_535 - 1}")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 65_535))
        with pytest.raises(EnvironmentFault, match="no 2 free ports on 127.0.0.1 between 65535 and 65535"):
            free_ports(2)
