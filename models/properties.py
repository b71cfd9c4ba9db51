"""The table of properties, by name, so that one can be written down and read back as data."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.errors import UsageError
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Property
from cacheproof.models.zones import Linearizable

__all__ = ["PROPERTIES", "property_from_dict", "property_to_dict"]

PROPERTIES: Mapping[str, Any] = {
    "bounded-staleness": BoundedStaleness,
    "convergence": Convergence,
    "durability": Durability,
    "integrity": Integrity,
    "linearizable": Linearizable,
    "read-after-write": ReadAfterWrite,
}


def property_to_dict(item: Property) -> dict[str, Any] | None:
    """`{"name": …}` and its parameters; None for a property of somebody else's making."""
    if PROPERTIES.get(item.name) is not type(item):
        return None
    names = [field.name for field in fields(PROPERTIES[item.name])]
    return {"name": item.name} | {name: getattr(item, name) for name in names}


def property_from_dict(data: Any) -> Property:
    """Read what `property_to_dict` wrote.  Raises UsageError for anything else."""
    if not isinstance(data, dict) or data.get("name") not in PROPERTIES:
        raise UsageError(f"not a property: {data!r}; expected {{'name': one of {', '.join(PROPERTIES)}, …}}")
    kind = PROPERTIES[data["name"]]
    given = {name: value for name, value in data.items() if name != "name"}
    known = {field.name for field in fields(kind)}
    if set(given) != known:
        raise UsageError(f"property {data!r}: {data['name']!r} takes {sorted(known)}")
    if not all(value is None or isinstance(value, (bool, int, float)) for value in given.values()):
        raise UsageError(f"property {data!r}: its parameters are numbers, true, false or null")
    found: Property = kind(**given)
    return found
