"""What a portal knows of its result columns."""

import pytest

from cacheproof.chaos.wire.pgpayload import Columns
from cacheproof.chaos.wire.pgsession import Portal, Prepared
from cacheproof.chaos.wire.pgsql import Statement

DESCRIBED: Columns = ((25, False), (23, False))


@pytest.mark.parametrize(
    ("of_portal", "of_statement", "formats", "expected"),
    [
        (((25, True), (23, True)), DESCRIBED, (0,), ((25, True), (23, True))),
        (None, DESCRIBED, (), ((25, False), (23, False))),
        (None, DESCRIBED, (1,), ((25, True), (23, True))),
        (None, DESCRIBED, (0, 1), ((25, False), (23, True))),
        (None, None, (1,), ((0, True), (0, True))),
        (None, None, (), ((0, False), (0, False))),
        (((25, True),), ((25, False),), (0, 1), ((0, False), (0, True))),
    ],
    ids=["portal described", "all text", "all binary", "one each", "never", "never, text", "another table"],
)
def test_columns_of_a_portal(
    of_portal: Columns | None, of_statement: Columns | None, formats: tuple[int, ...], expected: Columns
) -> None:
    """The portal's own description counts, then the statement's with the formats of Bind, if they fit."""
    portal = Portal(Prepared("x", columns=of_statement), Statement("x"), formats, of_portal)
    assert portal.result_columns(2) == expected
