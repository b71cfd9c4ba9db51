"""The catalogue of faults is one table, read in two ways."""

import pytest

from cacheproof.models.decision import decision_from_dict
from cacheproof.models.errors import UsageError
from cacheproof.models.fault import ALL_CONDITIONS, CORE_CONDITIONS, FAULTS, Condition


def test_every_condition_has_faults_but_the_two_that_are_none() -> None:
    """Quiet and concurrent are about order alone."""
    assert [item for item in Condition if not item.faults] == [Condition.QUIET, Condition.CONCURRENT]


def test_the_table_is_read_in_both_directions() -> None:
    """A fault is in a condition exactly if the condition is in its row."""
    for condition in ALL_CONDITIONS:
        assert condition.faults == {name for name, fault in FAULTS.items() if condition in fault.conditions}


def test_every_fault_is_made_by_a_decision_that_there_is() -> None:
    """Its decision is known by name: the complaint is about what is missing, not about the name."""
    for fault in FAULTS.values():
        try:
            decision_from_dict({"do": fault.decision})
        except UsageError as error:
            assert "is incomplete" in str(error)


@pytest.mark.parametrize("condition", ALL_CONDITIONS)
def test_no_condition_is_made_of_mending_alone(condition: Condition) -> None:
    """What only undoes a fault proves nothing."""
    harm = [name for name in condition.faults if not FAULTS[name].mends]
    assert bool(harm) == bool(condition.faults)


def test_the_core_comes_first_to_mind() -> None:
    """What a contract is judged under that names no conditions."""
    assert len(CORE_CONDITIONS) == 6 and set(CORE_CONDITIONS) < set(ALL_CONDITIONS)
