"""The time of a client process belongs to the run: its clocks, sleeps and timed waits.

`install(clock)` once in the zygote changes what has to be changed; nothing happens yet.  `attach(registrar)`
in a client, right after the fork, is the moment from which its time is that of the run.  A process that
never attaches keeps real time.

    installation   install, attach
    coverage       what follows the run's clock, and what does not
    membership     which run this process belongs to, if any
    clocks         time, datetime, sleep
    waits          locks, queues, joining threads: everything built on a wait with a time limit
    loops          asyncio
    sockets        time-outs of sockets, which are remembered and never fire
"""

from cacheproof.chaos.virtualtime.coverage import NOT_VIRTUALISED, VIRTUALISED
from cacheproof.chaos.virtualtime.installation import attach, install

__all__ = ["NOT_VIRTUALISED", "VIRTUALISED", "attach", "install"]
