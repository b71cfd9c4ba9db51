"""Profiles go from a first look to a night."""

import pytest

from cacheproof.harness.profiles import PROFILES, profile_named
from cacheproof.harness.strategies.exhaustive import SCOPES
from cacheproof.models.errors import UsageError


def test_each_profile_searches_at_least_as_much_as_the_one_before() -> None:
    """In every respect."""
    assert list(PROFILES) == ["quick", "default", "thorough"]
    quick, default, thorough = PROFILES.values()
    for less, more in ((quick, default), (default, thorough)):
        assert set(less.scopes) <= set(more.scopes)
        assert less.scope_limit <= more.scope_limit
        assert less.random < more.random
        assert less.confirmations <= more.confirmations


def test_the_scopes_of_a_profile_exist() -> None:
    """Each by the name that the exhaustive search knows it by."""
    assert {scope for profile in PROFILES.values() for scope in profile.scopes} <= set(SCOPES)


def test_a_profile_is_found_by_its_name() -> None:
    """Any other name is a usage error that names the choices."""
    assert profile_named("quick") is PROFILES["quick"]
    with pytest.raises(UsageError, match="unknown profile 'slow'; choose from quick, default, thorough"):
        profile_named("slow")
