"""Ports for servers that are killed and come back: free now, and still free when the server returns.

The kernel gives ports of its own range to whoever connects, and the wire connects a lot: while a server is down,
its port could become one end of somebody's connection.  So the ports chosen here lie outside that range.
"""

import random
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from cacheproof.models.errors import EnvironmentFault

__all__ = ["free_ports"]

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 15_000
_HIGHEST: Final = 65_535
_ATTEMPTS: Final = 200
_CHANCE: Final = random.SystemRandom()
"""Never the seed of a search: two harnesses with one seed must not want the same ports."""


def free_ports(count: int) -> tuple[int, ...]:
    """As many ports, each free on 127.0.0.1 and none twice.  Raises EnvironmentFault if there are too few."""
    candidates = _candidates()
    with ExitStack() as held:
        found: list[int] = []
        for _ in range(_ATTEMPTS):
            if len(found) == count:
                return tuple(found)
            port = _CHANCE.choice(candidates)
            if _hold(port, held):
                found.append(port)
    raise EnvironmentFault(
        f"no {count} free ports on 127.0.0.1 between {candidates[0]} and {candidates[-1]}; "
        "end programs that have taken them"
    )


def _candidates() -> Sequence[int]:
    """Ports that the kernel does not give away by itself, if there are any that anybody may use."""
    try:
        low, high = map(int, _RANGE.read_text().split())
    except OSError:  # another kernel
        low, high = 32_768, 60_999
    return range(_LOWEST, low) or range(high + 1, _HIGHEST + 1) or range(_LOWEST, _HIGHEST + 1)


def _hold(port: int, held: ExitStack) -> bool:
    """Bind a socket to it until all have been chosen."""
    candidate = held.enter_context(socket.socket())
    try:
        candidate.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
