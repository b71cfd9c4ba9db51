"""Operations are closed intervals: one precedes another only if it had returned before the other began."""

import pytest

from cacheproof.models.operation import Operation, Outcome


def operation(invoked: int, returned: int | None) -> Operation:
    outcome = Outcome.INFO if returned is None else Outcome.OK
    return Operation(0, "write", "k", "v1", invoked, returned, outcome)


@pytest.mark.parametrize(
    ("first", "second", "precedes"),
    [((0, 1), (2, 3), True), ((0, 2), (2, 3), False), ((0, 3), (1, 2), False), ((0, None), (5, 6), False)],
)
def test_real_time_order(first: tuple[int, int | None], second: tuple[int, int], precedes: bool) -> None:
    """Touching intervals are concurrent, and an ambiguous operation precedes nothing."""
    assert operation(*first).precedes(operation(*second)) is precedes
    assert not operation(*second).precedes(operation(*first))
