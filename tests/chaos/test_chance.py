"""chaos.chance: two clients with one seed draw the same, and with two seeds never do.

Everything happens in a process of its own, forked from a zygote in which chance is installed: `draw(seed)`.
"""

import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import types
import uuid
from collections.abc import Callable, Iterator
from os import urandom as early_urandom
from pathlib import Path
from random import random as early_random
from random import seed as early_seed
from secrets import token_hex as early_token
from typing import Any

import pytest

from cacheproof.chaos import chance
from cacheproof.models.errors import HarnessError

EARLY_GENERATOR = random.Random(7)


class OwnGenerator(random.Random):
    """A subclass, as libraries have them."""


def draw_everything() -> dict[str, Any]:
    """Something from every source in `SEEDED`; a source that ignores the seed differs from run to run."""
    return {
        "random": [random.random(), random.randrange(10**9), random.getrandbits(64)],
        "early": [early_random(), early_urandom(8).hex(), early_token(8)],
        "Random()": [random.Random().random(), random.Random(None).random(), OwnGenerator().random()],
        "SystemRandom": [random.SystemRandom().random(), random.SystemRandom().getrandbits(64)],
        "secrets": [secrets.token_hex(8), secrets.randbelow(10**18), secrets.token_urlsafe(8)],
        "os": [os.urandom(8).hex(), os.getrandom(8).hex(), os.urandom(0).hex()],
        "uuid4": [str(uuid.uuid4()), str(uuid.uuid4())],
        "node": [uuid.getnode(), str(uuid.uuid1())[14:]],
        "tempfile": next(tempfile._RandomNameSequence()),  # type: ignore[attr-defined]
    }


def draw_after_reseeding() -> list[float]:
    random.seed(5)
    fixed = random.random()
    random.seed()
    reseeded = random.random()
    early_seed()
    early = random.random()
    generator = random.Random(5)
    return [fixed, generator.random(), reseeded, early, EARLY_GENERATOR.random()]


def draw_in_children() -> list[list[Any]]:
    """What two children in turn draw, and then the client itself."""

    def in_a_child() -> list[Any]:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, json.dumps(_some()).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            found: list[Any] = json.loads(stream.read())
        os.wait()
        return found

    return [in_a_child(), in_a_child(), _some()]


def _some() -> list[Any]:
    return [random.random(), os.urandom(8).hex(), uuid.getnode(), random.Random().random()]


def draw_uuid1() -> list[str]:
    return [str(uuid.uuid1()) for _ in range(1000)]


def seed_stand_in_for_numpy() -> list[int]:
    """numpy is not needed here: only its place in sys.modules, and its function `seed`."""
    seeds: list[int] = []
    stand_in = types.ModuleType("numpy.random")
    stand_in.seed = seeds.append  # type: ignore[attr-defined]
    sys.modules["numpy.random"] = stand_in
    chance.seed(3)
    chance.seed(3)
    chance.seed(4)
    return seeds


def forget_uuids() -> list[int | None]:
    """What module uuid remembers of uuids from before, by the names that it has or will have."""
    state = vars(uuid)
    state.update(_last_timestamp=2**60, _last_timestamp_v7=2**60, _last_counter_v7=7)
    chance.seed(1)
    return [state[name] for name in ("_last_timestamp", "_last_timestamp_v7", "_last_counter_v7")]


def refuse() -> list[str]:
    found = []
    for call in (chance.install, lambda: os.urandom(-1), lambda: os.urandom("1")):  # type: ignore[arg-type]
        try:
            call()
        except (HarnessError, ValueError, TypeError) as error:
            found.append(type(error).__name__)
    return found


SCENARIOS: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (
        draw_everything,
        draw_after_reseeding,
        draw_in_children,
        draw_uuid1,
        seed_stand_in_for_numpy,
        forget_uuids,
        refuse,
    )
}


def be_zygote(line_fd: int) -> None:
    """Fork a client for each packet {"scenario", "seed"}; the client answers with what it drew."""
    chance.install()
    with socket.socket(fileno=line_fd) as line:
        while packet := line.recv(1000):
            if os.fork() == 0:
                request = json.loads(packet)
                if request["seed"] is not None:
                    chance.seed(request["seed"])
                line.send(json.dumps(SCENARIOS[request["scenario"]]()).encode())
                os._exit(0)
            os.wait()


Draw = Callable[..., Any]


@pytest.fixture(scope="module")
def draw() -> Iterator[Draw]:
    """Run a scenario in a client with a seed (or with none)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-W", "error", str(Path(__file__)), str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def draw(scenario: Callable[[], Any], seed: int | None) -> Any:
        ours.send(json.dumps({"scenario": scenario.__name__, "seed": seed}).encode())
        answer = ours.recv(1 << 20)
        assert answer, "the client died without an answer"
        return json.loads(answer)

    yield draw
    ours.close()
    process.wait()


def test_same_seed_same_sequences(draw: Draw) -> None:
    """Two clients with one seed draw the same from every source."""
    assert draw(draw_everything, 1) == draw(draw_everything, 1)


def test_different_seeds(draw: Draw) -> None:
    """Two clients with different seeds draw differently from every source."""
    one, other = draw(draw_everything, 1), draw(draw_everything, 2)
    assert [name for name in one if one[name] == other[name]] == []


def test_sources_are_independent(draw: Draw) -> None:
    """Within a client, no two sources give the same numbers."""
    found = draw(draw_everything, 1)
    values = [str(value) for values in found.values() for value in values if value != ""]
    singles = [value for value in values if len(value) > 1]  # the name of a file comes in letters
    assert len(singles) == len(set(singles))


def test_two_processes_agree(draw: Draw) -> None:
    """The same seed means the same in another zygote, with another PYTHONHASHSEED."""
    script = (
        f"import json, sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_chance as t\n"
        "t.chance.install(); t.chance.seed(1); print(json.dumps(t.draw_everything()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "99"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == draw(draw_everything, 1)


def test_reseeding(draw: Draw) -> None:
    """A seed that the cache gives itself counts; seeding with nothing draws a seed from the run."""
    one, other = draw(draw_after_reseeding, 1), draw(draw_after_reseeding, 2)
    assert one == draw(draw_after_reseeding, 1)
    five = random.Random(5).random()
    assert one[:2] == other[:2] == [five, five]
    assert one[2] != one[3] and {*one[2:4]}.isdisjoint(other[2:4])
    assert one[4] == other[4] == random.Random(7).random()


def test_children_of_clients(draw: Draw) -> None:
    """A process that a client forks draws from streams of its own, which the seed determines as well."""
    first, second, parent = draw(draw_in_children, 1)
    for ours, theirs in ((first, second), (first, parent), (second, parent)):
        assert [a for a, b in zip(ours, theirs, strict=True) if a == b] == []
    assert [first, second, parent] == draw(draw_in_children, 1)
    assert draw(draw_in_children, 2)[0] != first


def test_uuid1(draw: Draw) -> None:
    """uuid1 does not repeat within a client, has one address, and another one in another client."""
    one, other = draw(draw_uuid1, 1), draw(draw_uuid1, 2)
    assert len(set(one)) == len(one)
    assert {uuid.UUID(text).version for text in one} == {1}
    nodes = [{uuid.UUID(text).node for text in drawn} for drawn in (one, other)]
    assert [len(found) for found in nodes] == [1, 1] and nodes[0] != nodes[1]
    assert all(node >> 40 & 1 for found in nodes for node in found), "not marked as a made-up address"


def test_uuids_from_before_are_forgotten(draw: Draw) -> None:
    """A uuid that the zygote made, at a real time after that of the run, leaves no trace in its clients."""
    assert draw(forget_uuids, None) == [None, None, 0]


def test_numpy(draw: Draw) -> None:
    """If numpy is loaded its global generator is seeded, with 32 bits that follow from the seed."""
    one, again, other = draw(seed_stand_in_for_numpy, 1)
    assert one == again != other
    assert 0 <= one < 2**32


def test_never_seeded(draw: Draw) -> None:
    """A process that is not seeded has real randomness, and the address of its machine."""
    one, other = draw(draw_everything, None), draw(draw_everything, None)
    assert one["node"][0] == other["node"][0]
    assert [name for name in one if one[name] == other[name]] == []


def test_refusals(draw: Draw) -> None:
    """A second installation is refused, and so are bytes that cannot be drawn."""
    assert draw(refuse, 1) == ["HarnessError", "ValueError", "TypeError"]


def test_seed_needs_an_installation() -> None:
    """A client whose zygote installed nothing is told so, and is not half seeded."""
    before = random.getstate()
    with pytest.raises(HarnessError, match=r"not installed; call install\(\) in the zygote first"):
        chance.seed(1)
    assert random.getstate() == before


def test_tables() -> None:
    """Nothing is said to be both seeded and not, and every entry has words."""
    assert not set(chance.SEEDED) & set(chance.NOT_SEEDED)
    assert all(words for table in (chance.SEEDED, chance.NOT_SEEDED) for words in table.values())


if __name__ == "__main__":
    be_zygote(int(sys.argv[1]))
