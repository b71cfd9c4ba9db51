"""How an operation ended, from what its client said: the one place where exceptions become outcomes.

ok    it returned
fail  it certainly changed nothing: a read that raised, or a write of which nothing ever reached a server
info  it raised after something had been delivered: it may or may not have happened
"""

from typing import Any

from cacheproof.harness.process import OpenOperation
from cacheproof.models.operation import Outcome, Value

__all__ = ["outcome_of"]


def outcome_of(packet: dict[str, Any], operation: OpenOperation) -> tuple[Outcome, Value, str | None]:
    """(outcome, value, error) of an operation, from the packet in which its client reported its end."""
    if "value" in packet:
        value = operation.value if operation.value is not None else packet["value"]
        return Outcome.OK, value, None
    certain = operation.f == "read" or not operation.touched
    return (Outcome.FAIL if certain else Outcome.INFO), operation.value, packet["error"]
