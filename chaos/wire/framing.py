"""What goes wrong when bytes do not follow their protocol."""

from cacheproof.models.errors import CacheproofError

__all__ = ["FramingError"]


class FramingError(CacheproofError):
    """Bytes on a connection do not follow its protocol.

    The message says at which offset of the stream, what was found there and what was expected.  A parser that
    raised it has lost its place: close the connection and make a new parser.
    """
