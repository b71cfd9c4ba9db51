"""A server that keeps nothing, with another one warming up behind it: a restart then takes no time.

Of two numbered processes one serves and the other may stand by, on a socket of its own.  A kill ends the one
that serves, for real; a start moves the socket of the other to the address that everybody knows.  From the
first kill on there is always one standing by, since a search that kills once will kill again.
"""

import os
from collections.abc import Callable

from cacheproof.chaos.servers.process import Process
from cacheproof.chaos.servers.server import Address
from cacheproof.models.decision import ServerName

__all__ = ["Standby"]


class Standby:
    """Implements `Server`.  `make(number)` gives a process that is not yet started, listening on a unix socket."""

    def __init__(self, address: Address, make: Callable[[int], Process]) -> None:
        self.name = ServerName.CACHE
        self.address = address
        self._both = (make(0), make(1))
        self._serving = 0
        self._warming = False
        self._killed = False

    @property
    def _current(self) -> Process:
        return self._both[self._serving]

    @property
    def pid(self) -> int | None:
        return self._current.pid

    @property
    def running(self) -> bool:
        return self._current.running

    def start(self) -> None:
        """Raises EnvironmentFault, with the end of its log, if it ends or does not answer in time."""
        if self.running:
            return
        if self._warming:
            self._serving = 1 - self._serving
            self._warming = False
            self._current.wait_until_it_answers()
        else:
            self._current.start()
        os.replace(str(self._current.address), str(self.address))
        if self._killed:
            self._warm_up()

    def _warm_up(self) -> None:
        self._both[1 - self._serving].launch()
        self._warming = True

    def kill(self) -> None:
        if self.running:
            self._killed = True
            self._current.kill()

    def pause(self) -> None:
        self._current.pause()

    def resume(self) -> None:
        self._current.resume()

    def restart(self) -> None:
        """It has nothing to save, so that a kill is as good as a word."""
        self.kill()
        self.start()

    def stop(self) -> None:
        for process in self._both:
            process.stop()

    def describe(self) -> str:
        return self._current.describe()
