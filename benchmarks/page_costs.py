"""How many round trips the operations of each pattern take: counted in one quiet run of its page.

Client A reads a key that nobody has read, reads it again, writes it, and reads it once more; each operation runs
alone, to its end.  What a worker does meanwhile is not counted: nobody waits for it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from cacheproof.chaos.servers.servers import Servers
from cacheproof.harness.execution import Execution
from cacheproof.harness.runner import Runner
from cacheproof.harness.world import World
from cacheproof.models.contract import Contract
from cacheproof.models.decision import Advance, Deliver, Invoke, ServerName
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome
from cacheproof.models.page import Page
from cacheproof.models.round_trips import round_trips
from cacheproof.models.schedule import Scenario

__all__ = ["PLAN", "round_trips_of"]

PLAN: tuple[tuple[str, str], ...] = (
    ("read, cold", "read"),
    ("read, warm", "read"),
    ("write", "write"),
    ("read after write", "read"),
)
"""What is counted, and the operation that shows it."""

Costs = Mapping[str, Mapping[str, int]]
"""For each of PLAN the round trips with each server."""

_MOST_STEPS = 200


def round_trips_of(page: Page, servers: Servers) -> Costs | None:
    """The round trips of a page's operations; None if its clients do not read and write."""
    module = import_module(page.module)
    contract: Contract = getattr(module, page.contract)(page.ttl_s)
    if not {"read", "write"} <= set(contract.operations):
        return None
    scenario = Scenario(clients=1, workers=contract.workers, **_records(contract))
    with World(getattr(module, page.class_name), servers) as world:
        run = Runner(world).drive(scenario, _quiet_run)
    if run.problem is not None:
        raise RuntimeError(f"{page.name}: {run.problem}")
    return _counted(run.history)


def _records(contract: Contract) -> dict[str, Any]:
    return {"operations": contract.operations, "numbers": contract.numbers}


def _quiet_run(execution: Execution) -> None:
    for _, f in PLAN:
        execution.take(Invoke(0, f, execution.scenario.keys[0]))
        for _ in range(_MOST_STEPS):
            if execution.operation(0) is None:
                break
            if execution.pending(0):
                execution.take(Deliver(0))
            elif (wake := execution.next_wake_ns()) is not None:
                execution.take(Advance(max(wake - execution.now_ns, 1) / 1e9))


def _counted(history: History) -> Costs:
    done = [operation for operation in history.operations if operation.process == 0][: len(PLAN)]
    assert all(operation.outcome is Outcome.OK for operation in done)
    return {
        name: {server.value: len(round_trips(history, operation, server)) for server in ServerName}
        for (name, _), operation in zip(PLAN, done, strict=True)
    }
