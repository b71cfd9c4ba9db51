"""A malformed line is a usage error that names its place."""

from cacheproof.models.errors import UsageError
from cacheproof.models.malformed import Malformed


def test_it_names_the_place_and_keeps_it_as_data() -> None:
    """In words for people, in fields for programs."""
    error = Malformed(3, 14, "'x' is 1; expected 2")
    assert isinstance(error, UsageError)
    assert str(error) == "line 3, column 14: 'x' is 1; expected 2"
    assert (error.line, error.column, error.what) == (3, 14, "'x' is 1; expected 2")
