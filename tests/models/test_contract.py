"""Contracts list guarantees, each under the conditions where it is claimed and where it is kept."""

from dataclasses import replace

import pytest

from cacheproof.models.contract import ALL_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.errors import UsageError
from cacheproof.models.staleness import BoundedStaleness

KEPT = frozenset({Condition.QUIET})
CONTRACT = Contract(
    "sample",
    (
        Guarantee("A1", "converges", Convergence(300), kept=KEPT),
        Guarantee("A2", "is fresh", BoundedStaleness(300)),
        Guarantee("A3", "loses nothing", Durability(), kept=frozenset(ALL_CONDITIONS)),
    ),
)


def test_probes_are_those_of_its_properties() -> None:
    """Sorted, and each once."""
    assert CONTRACT.probes_s == (0.0, 299.0, 300.001)


def test_what_is_kept_is_a_contract_too() -> None:
    """Without what is never kept; each guarantee claimed only where it holds."""
    assert [(item.id, item.claimed) for item in CONTRACT.kept.guarantees] == [
        ("A1", KEPT),
        ("A3", frozenset(ALL_CONDITIONS)),
    ]


def test_some_guarantees_can_be_chosen() -> None:
    """By id; an unknown one is an error that lists the known ones."""
    assert [item.id for item in CONTRACT.only(["A3", "A1"]).guarantees] == ["A1", "A3"]
    with pytest.raises(UsageError, match=r"no guarantee \['A9'\]; it has \['A1', 'A2', 'A3'\]"):
        CONTRACT.only(["A1", "A9"])


def test_operations_say_what_a_run_needs() -> None:
    """Numbers for what counts, two records for what takes several; by default clients read and write."""
    assert (CONTRACT.operations, CONTRACT.numbers, CONTRACT.keys) == (("read", "write"), False, 1)
    counting = replace(CONTRACT, operations=("read", "increment"))
    assert (counting.numbers, counting.keys) == (True, 1)
    several = replace(CONTRACT, operations=("read_many", "write"))
    assert (several.numbers, several.keys) == (False, 2)
    assert counting.kept.operations == counting.only(["A1"]).operations == ("read", "increment")
    with pytest.raises(UsageError, match=r"contract 'sample' has operation 'reed'"):
        replace(CONTRACT, operations=("reed",))


def test_ids_are_unique() -> None:
    """Two guarantees of one id could not be told apart in a report."""
    with pytest.raises(UsageError, match="two guarantees of one id"):
        Contract("double", CONTRACT.guarantees * 2)
