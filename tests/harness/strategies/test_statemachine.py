"""`state_machine`: Hypothesis itself finds, shrinks and reports, with its own tools."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from cacheproof.harness.strategies.statemachine import state_machine
from cacheproof.models.contract import Condition
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside


def run(machine: Any, examples: int) -> None:
    run_state_machine_as_test(
        seed(1)(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_broken_promise_fails_with_its_name() -> None:
    """AssertionError: the guarantee, the anomaly, and the schedule to replay."""
    machine = state_machine(CacheAside, CACHE_ASIDE().only(["CA4"]))
    with pytest.raises(AssertionError, match=r'CA4 \(.*\) is refuted: .*; schedule \{"format":1,'):
        run(machine, 100)


def test_a_kept_promise_passes() -> None:
    """Only what is claimed under the condition is judged."""
    run(state_machine(CacheAside, CACHE_ASIDE().kept, under=Condition.CONCURRENT, clients=3, keys=2), 10)
