"""The error of all framing."""

import pytest

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.models.errors import CacheproofError


def test_a_framing_error_is_one_of_ours() -> None:
    """Whoever catches the root of our errors catches this one, with its message."""
    with pytest.raises(CacheproofError, match="byte 5"):
        raise FramingError("byte 5 of the stream")
