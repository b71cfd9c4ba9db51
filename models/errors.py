"""Every error that cacheproof raises on purpose, by who must act.

    CacheproofError
    ├── UsageError           you: an argument, option or file is wrong
    │   └── Malformed        a line of a recorded history is wrong (malformed.py)
    ├── CacheError           you: the cache under test did something that cannot be tested
    ├── EnvironmentFault     your machine: a server, a port, a disk, a missing binary
    └── HarnessError         us: please report it
        └── ReplayMismatch   a schedule asked for a decision that was not enabled

A broken promise of a cache is never an exception: it is a verdict.
"""

__all__ = [
    "CacheError",
    "CacheproofError",
    "EnvironmentFault",
    "HarnessError",
    "ReplayMismatch",
    "UsageError",
]


class CacheproofError(Exception):
    """Root of every error raised by cacheproof."""


class UsageError(CacheproofError):
    """An argument, option or file is wrong; the message says which and what to write instead."""


class CacheError(CacheproofError):
    """The cache under test cannot be tested as it is; the message says why and what to change."""


class EnvironmentFault(CacheproofError):
    """A server, port, disk or binary that the harness needs is not there; the message says what to do."""


class HarnessError(CacheproofError):
    """A rule of the harness itself was broken."""


class ReplayMismatch(HarnessError):
    """A schedule asked for a decision that was not enabled at that point of the replay."""
