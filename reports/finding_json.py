"""Findings and operations as JSON values: keys in a fixed order, nothing that JSON cannot express."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from cacheproof.models.event import Committed
from cacheproof.models.operation import Operation
from cacheproof.models.verdict import Finding

__all__ = ["finding_to_dict", "jsonable", "operation_to_dict"]


def jsonable(value: Any) -> Any:
    """`value` with what JSON cannot express (infinities, NaN, foreign types) as strings."""
    if isinstance(value, Mapping):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    return value if value is None or isinstance(value, (str, int)) else str(value)


def finding_to_dict(finding: Finding) -> dict[str, Any]:
    """A finding: its kind, the operations and versions concerned, and what was measured."""
    return {
        "property": finding.property,
        "kind": finding.kind,
        "key": finding.key,
        "culprit": operation_to_dict(finding.culprit) if finding.culprit else None,
        "because": [operation_to_dict(operation) for operation in finding.because],
        "versions": [_version(version) for version in finding.versions],
        "stale_s": finding.stale_s,
        "at": list(finding.at),
        "found": finding.found,
        "allowed": list(finding.allowed) if finding.allowed else None,
    }


def operation_to_dict(operation: Operation) -> dict[str, Any]:
    """An operation, with the event indices of its interval."""
    return {
        "process": operation.process,
        "f": operation.f,
        "key": operation.key,
        "value": operation.value,
        "result": operation.result,
        "invoked": operation.invoked,
        "returned": operation.returned,
        "outcome": operation.outcome.value,
        "error": operation.error,
        "final": operation.final,
    }


def _version(version: Committed) -> dict[str, Any]:
    return {"index": version.index, "key": version.key, "value": version.value, "version": version.version}
