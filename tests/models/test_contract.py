"""Contracts list guarantees, each under the conditions where it is claimed and where it is kept."""

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


def test_ids_are_unique() -> None:
    """Two guarantees of one id could not be told apart in a report."""
    with pytest.raises(UsageError, match="two guarantees of one id"):
        Contract("double", CONTRACT.guarantees * 2)
