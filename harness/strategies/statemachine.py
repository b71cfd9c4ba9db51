"""`state_machine`: for people who want Hypothesis itself, with its database, its shrinker and its reports.

    TestUserCache = state_machine(UserCache, CACHE_ASIDE(ttl_s=300).kept).TestCase

Each example is one run on real servers, which are started with the first example and ended with the process.
An example fails, in Hypothesis' sense, if its history breaks a guarantee.
"""

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.evidence import judge
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.strategies.machine import make_machine
from cacheproof.harness.strategies.moves import KEEPS
from cacheproof.harness.world import World
from cacheproof.models.anomalies import classify
from cacheproof.models.contract import Condition, Contract
from cacheproof.models.errors import CacheError
from cacheproof.models.schedule import Keeps, Scenario

__all__ = ["state_machine"]


def state_machine(
    cache: Callable[..., Any],
    contract: Contract,
    *,
    under: Condition = Condition.CONCURRENT,
    clients: int = 2,
    keys: int = 1,
) -> type[RuleBasedStateMachine]:
    """A machine whose rules are decisions, to be run by Hypothesis like any other.

    A broken guarantee is an AssertionError that names the guarantee, the anomaly and the schedule.
    """
    scenario = Scenario(
        clients=clients,
        workers=contract.workers,
        keys=tuple(f"user:{number}" for number in range(1, max(keys, contract.keys) + 1)),
        probes_s=contract.probes_s,
        keeps=KEEPS.get(under, Keeps.NOTHING),
        operations=contract.operations,
        numbers=contract.numbers,
    )
    lazily = _LazyRunner(cache)

    def check(run: Run) -> None:
        if run.problem is not None:
            raise CacheError(run.problem)
        for guarantee in contract.guarantees:
            if under not in guarantee.claimed:
                continue
            for finding in judge(guarantee, run.history).findings:
                name = classify(finding, run.history).title
                raise AssertionError(
                    f"{guarantee.id} ({guarantee.claim}) is refuted: {name}; schedule {run.schedule.to_json()}"
                )

    return make_machine(lazily, under, [scenario], check)


class _LazyRunner(Runner):
    """A runner whose world is made when it is first asked for."""

    def __init__(self, cache: Callable[..., Any]) -> None:
        self.runs = 0
        self._cache = cache
        self._world: World | None = None

    @property
    def world(self) -> World:  # type: ignore[override]  # an attribute elsewhere, made late here
        if self._world is None:
            stack = ExitStack()
            atexit.register(stack.close)
            servers = stack.enter_context(EmbeddedServers())
            self._world = stack.enter_context(World(self._cache, servers))
        return self._world
