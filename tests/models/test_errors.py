"""Whoever catches the root catches everything that is raised on purpose."""

from cacheproof.models import errors


def test_one_root() -> None:
    """Every error is a CacheproofError, and a replay that goes astray is an error of the harness."""
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.CacheproofError)
    assert issubclass(errors.ReplayMismatch, errors.HarnessError)
