"""The epilogue of every run, by a fixed rule: heal, drain, quiesce, final reads.

heal      dead servers are started and frozen ones go on, the network works again, what was delayed arrives,
          a worker that is down is started anew
drain     everything that is pending is delivered, lowest client first; whoever holds a lock begins to release
          it; when all that are left sleep, time passes up to the next deadline; until every operation of a
          client has returned
quiesce   workers are given what they wait for: until each waits for an event, or has gone once from sleep to
          sleep without writing anything
reads     at every probe of the scenario, in virtual seconds after quiescence, every key is read by the
          lowest client that lives and has lost no connection (if none has, the lowest is restarted); not so
          where clients do not read

It is recorded, and not part of the schedule: a schedule plus this rule is the whole run.
"""

from typing import Any

from cacheproof.chaos.expiry import READING
from cacheproof.harness.execution import Execution
from cacheproof.harness.locks import held_lock
from cacheproof.models.decision import Deliver, Invoke, Restart
from cacheproof.models.errors import CacheError
from cacheproof.models.event import Entered, Exchanged, Phase

__all__ = ["conclude"]

_MOST_EXCHANGES = 2_000
_MOST_TIMERS = 2_000
_MOST_WORKER_STARTS = 3
_LOOKS = READING | {"COMMIT", "PING", "ROLLBACK", "SELECT"}
"""Verbs that change nothing by themselves."""


def conclude(execution: Execution) -> None:
    """Run the epilogue.

    Raises CacheError if an operation cannot be brought to an end, and EnvironmentFault if a server has died.
    """
    _heal(execution)
    execution.recorder(Entered, phase=Phase.DRAIN)
    _drain(execution)
    execution.recorder(Entered, phase=Phase.QUIESCE)
    quiet_ns = execution.now_ns
    _quiesce(execution)
    execution.record_commits()
    execution.recorder(Entered, phase=Phase.READ)
    execution.begin_final_reads()
    for probe_s in execution.scenario.probes_s:
        execution.advance_to(quiet_ns + round(probe_s * 1e9))
        _quiesce(execution)
        for key in execution.scenario.keys if "read" in execution.scenario.operations else ():
            _read(execution, key)
    execution.record_commits()
    execution.check()


def _heal(execution: Execution) -> None:
    execution.recorder(Entered, phase=Phase.HEAL)
    for decision in execution.mends():
        execution.perform(decision)
    for worker in _workers(execution):
        if execution.is_down(worker):
            execution.perform(Restart(worker))


def _workers(execution: Execution) -> range:
    return range(execution.scenario.clients, execution.scenario.processes)


def _release(execution: Execution) -> None:
    """Begin what whoever holds a lock would do next: to release it, so that nobody waits for it in vain."""
    if "release" not in execution.scenario.operations:
        return
    for client in range(execution.scenario.clients):
        held = held_lock(execution.recorder.events, client)
        release = Invoke(client, "release", held)
        if held is not None and execution.is_enabled(release):
            execution.perform(release)


def _drain(execution: Execution) -> None:
    """Bring every operation of a client to its end; workers act only when no client can."""
    for _ in range(_MOST_EXCHANGES):
        _release(execution)
        if not _open(execution):
            return
        if _deliver_next(execution, range(execution.scenario.processes)):
            continue
        if not _pass_time(execution):
            raise CacheError(_stuck(execution))
    raise CacheError(
        f"{_name_open(execution)} did not end within {_MOST_EXCHANGES} exchanges of the epilogue"
    )


def _open(execution: Execution) -> list[int]:
    return [client for client in range(execution.scenario.clients) if execution.operation(client)]


def _name_open(execution: Execution) -> str:
    names = []
    for client in _open(execution):
        operation = execution.operation(client)
        assert operation is not None
        names.append(f"{operation.f} {operation.key} on {execution.crew.name(client)}")
    return ", ".join(names)


def _stuck(execution: Execution) -> str:
    waiting = [item for item in execution.crew.alive() if item.operation]
    around = sorted({address for item in waiting for address in execution.crew.connected_around(item)})
    what = f"{', '.join(around)}, which is" if around else "something that is"
    stacks = "\n".join(execution.crew.stacks(item) for item in waiting)
    return (
        f"{_name_open(execution)} never returns: no exchange is pending, nobody sleeps; it waits for {what} "
        f"not on the wire: see where it is, and let it end\n{stacks}"
    )


def _deliver_next(execution: Execution, clients: range) -> bool:
    """Deliver the first pending exchange of the lowest of these clients.  False if there is none."""
    for client in clients:
        if execution.pending(client):
            execution.perform(Deliver(client))
            return True
    return False


def _pass_time(execution: Execution) -> bool:
    """Let time pass up to the next deadline of a sleeper or a blocking command.  False if there is none."""
    deadline = execution.next_wake_ns()
    if deadline is None:
        return False
    execution.advance_to(max(deadline, execution.now_ns))
    return True


def _quiesce(execution: Execution) -> None:
    """Let every worker finish what it can: until it waits, or has gone from sleep to sleep without writing.

    Where it sleeps to begin with (an error has made it wait, perhaps), it has not yet had its turn.
    """
    for worker in _workers(execution):
        starts = 0
        for turn in range(_MOST_TIMERS):
            before = len(execution.recorder.events)
            while _deliver_next(execution, range(worker, worker + 1)):
                if len(execution.recorder.events) - before > _MOST_EXCHANGES:
                    return  # a worker that polls without a pause is never done: it has had its chance
            if execution.operation(worker) is None and starts < _MOST_WORKER_STARTS:
                starts += 1
                execution.replace(worker)
                continue
            wake = execution.wake_ns_of(worker)
            if wake is None or (turn and not _wrote(execution, worker, before)):
                break
            execution.advance_to(max(wake, execution.now_ns))


def _wrote(execution: Execution, worker: int, since: int) -> bool:
    """Whether the worker did anything but look since the event `since`."""
    events = execution.recorder.events[since:]
    exchanges = (event for event in events if isinstance(event, Exchanged) and event.process == worker)
    return any(not _LOOKS.issuperset(event.verb.split("; ")) and _did(event.reply) for event in exchanges)


def _did(reply: Any) -> bool:
    """False for a reply that says that nothing was done: nothing was there to be taken, no row was changed."""
    if isinstance(reply, dict) and "tag" in reply:
        return not str(reply["tag"]).endswith(" 0")
    return reply not in (None, [], ["0-0", [], []])


def _read(execution: Execution, key: str) -> None:
    reader = _reader(execution)
    execution.perform(Invoke(reader, "read", key))
    for _ in range(_MOST_EXCHANGES):
        if not execution.operation(reader):
            return
        everybody = range(execution.scenario.processes)
        acted = _deliver_next(execution, range(reader, reader + 1)) or _deliver_next(execution, everybody)
        if not acted and not _pass_time(execution):
            raise CacheError(_stuck(execution))
    raise CacheError(
        f"{_name_open(execution)} did not end within {_MOST_EXCHANGES} exchanges of the epilogue"
    )


def _reader(execution: Execution) -> int:
    for client in range(execution.scenario.clients):
        if not execution.is_down(client) and client not in execution.wounded:
            return client
    execution.replace(0)
    return 0
