"""The time of a client process belongs to the run: its clocks, sleeps and timed waits.

`install(clock)` once in the zygote changes what has to be changed; nothing happens yet.  `attach(registrar)`
in a client, right after the fork, is the moment from which its time is that of the run.  A process that
never attaches keeps real time.

    installation   install, attach, go_by_clock_of, prepare
    coverage       what follows the run's clock, and what does not
    membership     which run this process belongs to, if any
    clocks         time, datetime, sleep
    waits          locks, queues, joining threads: everything built on a wait with a time limit
    loops          asyncio
    sockets        time-outs of sockets, which fire only while a fault keeps something back
"""

from cacheproof.chaos.virtualtime.coverage import NOT_VIRTUALISED, VIRTUALISED
from cacheproof.chaos.virtualtime.installation import attach, go_by_clock_of, install, prepare

__all__ = ["NOT_VIRTUALISED", "VIRTUALISED", "attach", "go_by_clock_of", "install", "prepare"]
