"""The chance of a client process belongs to the run: its random sources are seeded.

`install()` once in the zygote, `seed(n)` in each client right after the fork.  A process that is never seeded
keeps real randomness.  From one seed follow, each with a stream of its own:

    the entropy of the process     os.urandom, and what draws from it: secrets, SystemRandom, uuid4,
                                   every `random.Random()` and `random.seed()` without a seed
    the global generator           random.random() and its like, numpy.random.*
    the address of the machine     uuid.getnode(), so uuid1: clients stand for machines of their own, for at
                                   one and the same virtual time only the address keeps their uuids apart

A process that a client forks goes on with streams of its own, that follow from the client's seed and from
how many it had forked before.
"""

import os
import random
import sys
import types
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from cacheproof.chaos.rebinding import rebind
from cacheproof.models.errors import HarnessError

__all__ = ["NOT_SEEDED", "SEEDED", "install", "seed"]

SEEDED: Mapping[str, str] = {
    "random": "the global generator, random.Random() and its subclasses, SystemRandom, random.seed()",
    "secrets": "all of it",
    "os.urandom, os.getrandom": "also where they were imported by name",
    "uuid": "uuid1, uuid4, getnode; uuid6, uuid7 and uuid8 where Python has them",
    "numpy.random": "the global generator, default_rng() and seed sequences without a seed",
    "tempfile": "the names of files",
}

NOT_SEEDED: Mapping[str, str] = {
    "hash(str), the order of sets": "follow PYTHONHASHSEED, which is the same in all clients of a run",
    "id, the default repr and hash of objects": "addresses in memory",
    "process and thread ids": "are given by the system",
    "ssl.RAND_bytes and TLS": "OpenSSL has a source of its own",
    "/dev/urandom read as a file": "is the system's",
    "C extensions with a source of their own": "also _random.Random used directly",
    "generators made before the client was forked": "random.Random() and numpy generators go on from there, "
    "the same in all clients",
}


class _Entropy:
    """What the operating system would give: its own bytes until `stream` is set, then those of the stream."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.stream: random.Random | None = None

    def urandom(self, size: int, /) -> bytes:
        stream = self.stream
        return bytes(self._real.urandom(size)) if stream is None else _draw(stream, size)

    def getrandom(self, size: int, flags: int = 0) -> bytes:
        stream = self.stream
        return bytes(self._real.getrandom(size, flags)) if stream is None else _draw(stream, size)


def _draw(stream: random.Random, size: int) -> bytes:
    if size < 0:
        raise ValueError(f"negative number of random bytes: {size!r}")
    return stream.randbytes(size)


class _Lineage:
    """The seed of this process, and how many children it has forked."""

    def __init__(self) -> None:
        self.seed: str | None = None
        self.children = 0


_entropy: _Entropy | None = None
_lineage = _Lineage()


def install() -> None:
    """Change this process, once, so that it and what it forks can be seeded.

    Raises HarnessError if called twice.
    """
    global _entropy
    if _entropy is not None:
        raise HarnessError("chance is installed in this process already; call seed in each client")
    real = types.SimpleNamespace(urandom=os.urandom, getrandom=os.getrandom)
    _entropy = _Entropy(real)
    rebind(
        {os.urandom: _entropy.urandom, os.getrandom: _entropy.getrandom},
        except_in=[vars(real)],
    )
    _install_random(_entropy)
    for name in ("_generate_time_safe", "_UuidCreate"):
        # The C library's uuid1 reads the real clock and address; without it, uuid makes its own.
        if hasattr(uuid, name):
            setattr(uuid, name, None)
    os.register_at_fork(before=_count_child, after_in_child=_seed_child)


def seed(seed: int) -> None:
    """Seed every random source of this process, a client just forked; the same seed, the same sequences.

    Callers make `seed` from the run's seed and the client's number.  Raises HarnessError without `install`.
    """
    _seed(str(seed))


def _seed(path: str) -> None:
    if _entropy is None:
        raise HarnessError("chance is not installed; call install() in the zygote first")
    _lineage.seed, _lineage.children = path, 0
    _entropy.stream = random.Random(f"entropy {path}")
    random.seed(f"global {path}")
    _seed_uuid(random.Random(f"uuid {path}"))
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(random.Random(f"numpy {path}").getrandbits(32))


def _seed_uuid(stream: random.Random) -> None:
    """An address (with the bit that says it is not a real one), and no memory of uuids made before."""
    state = vars(uuid)
    state["_node"] = stream.getrandbits(48) | 1 << 40
    for name in [name for name in state if name.startswith("_last_")]:
        state[name] = 0 if "counter" in name else None


def _install_random(entropy: _Entropy) -> None:
    """Let a generator that is seeded with nothing take its seed from the entropy of the process."""
    real_seed: Callable[..., None] = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and entropy.stream is not None:
            a = entropy.stream.getrandbits(256)
        real_seed(self, a, version)

    bound_before = random.seed
    random.Random.seed = seed  # type: ignore[method-assign]
    rebind({bound_before: random._inst.seed})


def _count_child() -> None:
    _lineage.children += 1


def _seed_child() -> None:
    if _lineage.seed is not None:
        _seed(f"{_lineage.seed}/{_lineage.children}")
