"""Which run this process belongs to: none until `attach`, then one until it ends.

There is a single instance, `RUN`.  Replaced functions ask it first: `clock` is None in a process that
belongs to no run, and they pass on to the originals.  A child that a client forks belongs to the same run,
with channels of its own.
"""

import os
import socket
import threading
from collections.abc import Callable

from cacheproof.chaos.clock import RunClock, SleepChannel
from cacheproof.models.errors import HarnessError

__all__ = ["RUN", "Membership", "Registrar"]

Registrar = socket.socket | Callable[[], socket.socket]
"""A socket for `receive_sleeper` at its other end, or a function that finds it when it is first needed."""


class Membership:
    """The clock of this process, and the sleep channels of its threads."""

    __slots__ = ("_channels", "_registrar", "client", "clock")

    def __init__(self) -> None:
        self.clock: RunClock | None = None
        self.client = 0
        """Whose wall clock this process goes by, should it be skewed."""
        self._registrar: Registrar | None = None
        self._channels = threading.local()
        os.register_at_fork(after_in_child=self._forget_channels)

    def join(self, clock: RunClock, registrar: Registrar) -> None:
        """From now on this process lives by `clock`."""
        self._forget_channels()
        self._registrar = registrar
        self.clock = clock

    def channel(self) -> SleepChannel:
        """The calling thread's channel, made when it first needs one and closed when the thread ends."""
        try:
            return self._channels.own  # type: ignore[no-any-return]  # an attribute of a threading.local
        except AttributeError:
            own = self._channels.own = self.open_channel(f"thread {threading.get_native_id()}")
            return own

    def open_channel(self, name: str) -> SleepChannel:
        """A channel for a party that is not a thread.  Raises HarnessError outside a run."""
        if self.clock is None or self._registrar is None:
            raise HarnessError(f"{name} wants to sleep outside any run; attach(registrar) comes first")
        registrar = self._registrar if isinstance(self._registrar, socket.socket) else self._registrar()
        return SleepChannel(self.clock, registrar, name)

    def _forget_channels(self) -> None:
        self._channels = threading.local()


RUN = Membership()
