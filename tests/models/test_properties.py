"""Properties as data: whatever is written down is read back, and nothing else is."""

from dataclasses import dataclass
from typing import Any

import pytest

from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.errors import UsageError
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.properties import PROPERTIES, property_from_dict, property_to_dict
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Judgement, Property
from cacheproof.models.zones import Linearizable

OURS: list[Property] = [
    BoundedStaleness(300),
    Convergence(within_s=300),
    Convergence(within_s=None),
    Durability(),
    Integrity(committed=True),
    Integrity(),
    Linearizable(),
    ReadAfterWrite(),
]


@dataclass(frozen=True)
class Mine:
    """A property of somebody else's making that took one of our names."""

    name: str = "durability"
    probes_s: tuple[float, ...] = ()

    def check(self, history: History) -> Judgement:
        return Judgement()


@pytest.mark.parametrize("item", OURS, ids=repr)
def test_every_property_survives_being_written_down(item: Property) -> None:
    """With its parameters."""
    data = property_to_dict(item)
    assert data is not None and data["name"] == item.name
    assert property_from_dict(data) == item


def test_the_table_has_every_property() -> None:
    """Each under its own name; one that is added has to be written down as well."""
    assert {item.name for item in OURS} == set(PROPERTIES)
    assert {type(item) for item in OURS} == set(PROPERTIES.values())


def test_a_property_of_somebody_elses_is_not_written_down() -> None:
    """Even if it has a name that is in the table: nobody could read it back."""
    assert property_to_dict(Mine()) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "not a property: None; expected"),
        ({"name": "rain"}, "expected {'name': one of bounded-staleness, convergence"),
        ({"name": "durability", "extra": 1}, r"'durability' takes \[\]"),
        ({"name": "convergence"}, r"'convergence' takes \['within_s'\]"),
        ({"name": "convergence", "within_s": "300"}, "its parameters are numbers, true, false or null"),
        ({"name": "convergence", "within_s": [300]}, "its parameters are numbers"),
    ],
)
def test_anything_else_is_refused(data: Any, message: str) -> None:
    """UsageError, with what it takes."""
    with pytest.raises(UsageError, match=message):
        property_from_dict(data)
