"""Saturation finds what must come before what, and proves a circle from program order and reads-from."""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations

import pytest

from cacheproof.models.happens_before import Scene, observe
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.saturation import Order, saturate

Draw = Callable[..., History]


def random_scene(chance: random.Random) -> Scene:
    """Up to seven operations of two or three sessions on two keys; what is read may be written later."""
    count, clients, keys = chance.randint(3, 7), chance.choice((2, 3)), chance.choice(("x", "xy"))
    operations: list[Operation] = []
    last: dict[int, int] = {}
    plan = [
        (chance.randrange(clients), chance.choice(("read", "write")), chance.choice(keys))
        for _ in range(count)
    ]
    writes = {
        key: [n for n, (_, f, other) in enumerate(plan) if f == "write" and other == key] for key in keys
    }
    chains, previous, sources = [], [], {}
    for node, (client, f, key) in enumerate(plan):
        value: Value = f"v{node}"
        if f == "read":
            sources[node] = chance.choice([None, *writes[key], *writes[key]])
            value = f"v{sources[node]}"
        operations.append(Operation(client, f, key, value, 2 * node, 2 * node + 1, Outcome.OK))
        chains.append(client)
        previous.append(last.get(client))
        last[client] = node
    return Scene({}, tuple(operations), tuple(chains), tuple(previous), sources)


def sequential_orders(scene: Scene) -> Iterator[tuple[int, ...]]:
    """Every order of all nodes that respects sessions and in which reads return the latest write."""
    for order in permutations(range(len(scene.operations))):
        place = {node: number for number, node in enumerate(order)}
        if all(before is None or place[before] < place[node] for node, before in enumerate(scene.previous)):
            state: dict[str | None, int | None] = {}
            for node in order:
                op = scene.operations[node]
                if op.f == "write":
                    state[op.key] = node
                elif state.get(op.key) != scene.sources[node]:
                    break
            else:
                yield order


def test_what_saturation_finds_holds_in_every_order() -> None:
    """On 400 random scenes: a circle only if there is no order, otherwise each past is before its node in all
    of them; and the nodes of a proof by themselves admit no order."""
    chance, circles, sound = random.Random(5), 0, 0
    for _ in range(400):
        scene = random_scene(chance)
        order = saturate(scene, sorted(scene.sources), 10_000)
        assert order is not None
        if order.pasts is None:
            circles += 1
            assert next(sequential_orders(scene), None) is None
            assert next(sequential_orders(restricted(scene, order.proof(order.circle()))), None) is None
            continue
        for sequence in sequential_orders(scene):
            sound += 1
            seen = 0
            for node in sequence:
                seen |= 1 << node
                assert order.pasts[node] & ~seen == 0
    assert circles > 150 and sound > 150


def restricted(scene: Scene, nodes: Sequence[int]) -> Scene:
    """The scene of some of the nodes: program order as it was, sources as they were."""
    name = {node: number for number, node in enumerate(nodes)}
    last: dict[int, int] = {}
    previous = []
    for node in nodes:
        previous.append(last.get(scene.chains[node]))
        last[scene.chains[node]] = name[node]
    sources = {
        name[read]: None if source is None else name[source]
        for read, source in scene.sources.items()
        if read in name
    }
    kept = tuple(scene.operations[node] for node in nodes)
    return Scene({}, kept, tuple(scene.chains[node] for node in nodes), tuple(previous), sources)


def test_a_way_leaves_out_what_only_continues_a_session(draw: Draw) -> None:
    """From a write to a read over another client: the ends of sessions' stretches, not all between."""
    scene = observe(
        draw(
            """
            A: |-w1@x-| |-w2@y-| |-w3@x-| |-w4@y-|
            B:                                     |-r4@y-| |-r4@y-| |-r3@x-|
            """,
            {"x": "v0", "y": "v0"},
        )
    )
    order = Order(scene)
    way = [scene.operations[node].value for node in order.path(0, 6)]
    assert way in (["v1", "v3", "v3"], ["v1", "v4", "v4", "v3"])
    assert order.path(0, 1) == [0, 1]


@pytest.mark.parametrize(
    ("drawing", "before"),
    [
        ("A: |-w1-|\nB: |-w2-| |-r1-|", {0: {1}, 1: set(), 2: {0, 1}}),  # rule 1: w2 before w1
        (
            "A: |-w1-| |-w2-|\nB:                 |-r1-|",
            {0: set(), 1: {0, 2}, 2: {0}},
        ),  # rule 2: r1 before w2
        (
            "A: |-w1-| |-w2-|\nB:                 |-r0-|",
            {0: {2}, 1: {0, 2}, 2: set()},
        ),  # r0 before all writes
        ("A: |-w1-|\nB: |-w2-|\nC:         |-r1-| |-r2-| |-r2-|", {1: {0, 2}, 4: {0, 1, 2, 3}}),  # both
    ],
)
def test_what_follows(drawing: str, before: dict[int, set[int]], draw: Draw) -> None:
    """Exactly what the two rules say comes before a node, neither less nor more."""
    scene = observe(draw(drawing))
    order = saturate(scene, sorted(scene.sources), 100)
    assert order is not None and order.pasts is not None
    for node, others in before.items():
        assert order.pasts[node] == sum(1 << other for other in {node, *others})


def test_two_rules_in_turn(draw: Draw) -> None:
    """Rule 1 alone does not see that each of two clients missed the other's write; both rules do."""
    scene = observe(draw("A: |-w1@x-| |-r0@y-|\nB: |-w1@y-| |-r0@x-|", {"x": "v0", "y": "v0"}))
    order = Order(scene)
    assert not order.grow(sorted(scene.sources), 1, both_rules=False) and order.pasts is not None
    assert order.grow(sorted(scene.sources), 1, both_rules=True) and order.pasts is None
    assert sorted(order.circle()) == order.proof(order.circle()) == [0, 1, 2, 3]


@pytest.mark.parametrize(("budget", "known"), [(2, False), (100, True)])
def test_a_budget_bounds_it(budget: int, known: bool, draw: Draw) -> None:
    """None once more constraints were looked at than allowed."""
    scene = observe(draw("A: |-w1-| |-r1-| |-r1-|"))
    assert (saturate(scene, sorted(scene.sources), budget) is not None) == known
