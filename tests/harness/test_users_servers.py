"""Servers that the harness may not kill, without import mode or superuser: what cannot be had is said, never passed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.cacheclock import Disturbance
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness import cli
from cacheproof.harness.profiles import Profile
from cacheproof.harness.session import Expect, wrong_cells
from cacheproof.harness.strategies.moves import KEEPS, KILLING, faults
from cacheproof.harness.verify import verify
from cacheproof.harness.world import World
from cacheproof.models.contract import Condition
from cacheproof.models.decision import Kill, ServerName
from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.schedule import Keeps, Scenario
from cacheproof.models.verdict import Verdict
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside

pytest_plugins = ["pytester"]

StageFor = Callable[[Any], Any]
SMALL = Profile("small", ("1 reader × 1 writer",), scope_limit=100, random=20, confirmations=2)
BY_TIME = Disturbance("a key was expired by the server's own clock", again=True)
FOR_GOOD = Disturbance("a script asks", again=False)


@pytest.fixture
def lacking(chaos_servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`lacking(control=False)`: from now on the servers say that they cannot do that."""

    def lack(**features: bool) -> None:
        without = replace(chaos_servers.features, **features)
        monkeypatch.setattr(type(chaos_servers), "features", property(lambda self: without))

    return lack


@pytest.fixture
def disturbed(stage_for: StageFor, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`disturbed(…)`: a stage of which the runs are disturbed like this, in turn."""

    def disturb(*times: Disturbance | None) -> Any:
        stage = stage_for(CacheAside)
        turns: Iterator[Disturbance | None] = iter(times)
        monkeypatch.setattr(type(stage.world), "disturbance", lambda self: next(turns))
        stage.runner.runs = 0
        return stage

    return disturb


# -- killing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", sorted(KILLING))
def test_servers_that_are_not_ours_are_not_killed(
    stage_for: StageFor, lacking: Callable[..., None], condition: Condition
) -> None:
    """No move of such a condition is left; with servers of our own there are some."""
    stage = stage_for(CacheAside)
    with stage.open("A read, A ..", keeps=KEEPS.get(condition, Keeps.NOTHING)) as execution:
        assert faults(execution, condition) != []
        lacking(control=False)
        assert faults(execution, condition) == []
        assert not any(execution.is_enabled(Kill(server)) for server in ServerName)


def test_everything_else_happens_on_servers_of_the_user_s(
    stage_for: StageFor, lacking: Callable[..., None]
) -> None:
    """A failover, a frozen server and a flush are made without a kill."""
    lacking(control=False)
    with stage_for(CacheAside).open("A read, A ...", keeps=Keeps.REPLICA) as execution:
        for condition in (Condition.FAILOVER, Condition.CACHE_DOWN, Condition.EVICTION, Condition.EXPIRY):
            assert faults(execution, condition) != []


def test_a_condition_that_cannot_be_made_is_not_exercised(
    chaos_servers: EmbeddedServers, lacking: Callable[..., None]
) -> None:
    """With the reason; what interleaving alone breaks is broken there as well."""
    lacking(control=False, again=False)
    report = verify(
        CacheAside,
        CACHE_ASIDE().only(["CA4", "CA5"]),
        under=[Condition.CACHE_CRASH],
        profile=SMALL,
        servers=chaos_servers,
    )
    kept = report.cell("CA5", Condition.CACHE_CRASH)
    assert kept.verdict is Verdict.NOT_EXERCISED and kept.schedules > 20
    assert kept.reason is not None and "never kills them" in kept.reason
    assert report.cell("CA4", Condition.CACHE_CRASH).verdict is Verdict.REFUTED
    assert not any(cell.possible for cell in report.cells)
    assert wrong_cells(report, Expect.TRUTH) == [] and wrong_cells(report, Expect.CLAIMS) != []


def test_a_stored_kill_is_a_problem_of_its_replay(stage_for: StageFor, lacking: Callable[..., None]) -> None:
    """Unknown, and no crash of the harness."""
    lacking(control=False)
    stage = stage_for(CacheAside)
    run = stage.runner.replay(stage.schedule("A read, A ., kill"))
    assert run.problem is not None and "is not possible at this point" in run.problem
    assert Kill(ServerName.CACHE) not in run.schedule.decisions


# -- real time ---------------------------------------------------------------------------------------------------


def test_a_run_in_which_real_time_had_a_part_is_run_once_more(disturbed: Callable[..., Any]) -> None:
    """The same decisions; if that went well, it counts."""
    stage = disturbed(BY_TIME, None)
    schedule = stage.schedule("A read, A ..")
    run = stage.runner.drive(
        schedule.scenario, lambda execution: [execution.take(d) for d in schedule.decisions]
    )
    assert (run.problem, stage.runner.runs, run.schedule) == (None, 2, schedule)


@pytest.mark.parametrize(
    ("times", "runs"), [((BY_TIME, BY_TIME), 2), ((FOR_GOOD,), 1), ((BY_TIME, FOR_GOOD), 2)]
)
def test_a_run_that_stays_disturbed_says_nothing(
    disturbed: Callable[..., Any], times: tuple[Disturbance, ...], runs: int
) -> None:
    """It has a problem, whose words are the reason of an unknown verdict."""
    stage = disturbed(*times)
    run = stage.runner.drive(Scenario(), lambda execution: None)
    assert (run.problem, stage.runner.runs) == (times[-1].reason, runs)


def test_a_replay_is_never_repeated(disturbed: Callable[..., Any]) -> None:
    """Whoever compares histories has to see each."""
    stage = disturbed(BY_TIME, BY_TIME)
    schedule = stage.schedule("A read, A ..")
    assert stage.runner.replay(schedule).problem == BY_TIME.reason
    assert stage.runner.attempt(schedule.scenario, schedule.decisions).problem == BY_TIME.reason
    assert stage.runner.runs == 2


def test_a_server_that_cannot_be_asked_any_more(stage_for: StageFor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is at fault, not the cache."""
    world: World = stage_for(CacheAside).world

    def gone() -> None:
        raise ConnectionError("the server closed the connection")

    with stage_for(CacheAside).open():
        assert world.disturbance() is None
        monkeypatch.setattr(world.cache_clock, "disturbance", gone)
        with pytest.raises(EnvironmentFault, match="a server broke off in the middle of a run"):
            world.disturbance()
        monkeypatch.undo()


@pytest.mark.parametrize("kill", ["", "kill, start, "])
def test_without_import_mode_a_run_is_what_it_is_with_it(
    chaos_servers: EmbeddedServers, lacking: Callable[..., None], stage_for: StageFor, kill: str
) -> None:
    """The same history, byte for byte, with expiry, ttls and a restart in it."""
    script = f"A read, A ..., advance 200, B read, B ., advance 101, B read, B ..., {kill}A write, A .."
    stage = stage_for(CacheAside)
    schedule = stage.schedule(script, probes_s=(0.0, 300.001))
    expected = stage.runner.replay(schedule)
    assert expected.problem is None
    lacking(import_mode=False)
    with World(CacheAside, chaos_servers) as world:
        world._admin_line().call("CONFIG", "SET", "import-mode", "no")
        run = type(stage)(world).runner.replay(schedule)
    assert (run.problem, run.history.to_jsonl()) == (None, expected.history.to_jsonl())
    assert '"expire"' in run.history.to_jsonl()


# -- deadlocks ---------------------------------------------------------------------------------------------------


def test_a_deadlock_whose_victim_is_uncertain_is_a_problem(
    chaos_servers: EmbeddedServers, stage_for: StageFor, caches: ModuleType, lacking: Callable[..., None]
) -> None:
    """Said at once, without waiting for a server that looks for deadlocks once a second."""
    stage = stage_for(caches.Crosswise)
    schedule = stage.schedule(
        "A write, A ., B write @user:2, B ., A ., B ., A ., B .", keys=("user:1", "user:2")
    )
    lacking(deadlocks=False)
    stage.world.watcher.query("alter role current_user set deadlock_timeout = '1s'")
    try:
        with World(caches.Crosswise, chaos_servers) as world:
            run = type(stage)(world).runner.replay(schedule)
    finally:
        stage.world.watcher.query("alter role current_user reset deadlock_timeout")
    assert run.problem is not None
    assert "the database's user may not set deadlock_timeout" in run.problem


# -- the two faces -----------------------------------------------------------------------------------------------


def test_the_command_line_takes_urls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without any it is a usage error; with those of nobody the environment is at fault."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CACHEPROOF_REDIS_URL", raising=False)

    def call(*options: str) -> tuple[object, str]:
        cache = "cacheproof.patterns.cache_aside:CacheAside"
        monkeypatch.setattr("sys.argv", ["cacheproof", "verify", cache, *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    code, said = call("--backend", "external")
    assert code == cli.USAGE_ERROR and "set CACHEPROOF_REDIS_URL" in said
    urls = ("--redis-url", "redis://127.0.0.1:1", "--database-url", "postgresql://127.0.0.1:1/x")
    code, said = call("--backend", "external", *urls)
    assert code == cli.FAILED and "the cache server at 127.0.0.1:1 cannot be used" in said
    code, said = call(*urls)
    assert code == cli.USAGE_ERROR and "choose the backend 'external'" in said
    code, said = call("--allow-flush", "x")
    assert code == cli.USAGE_ERROR and "choose the backend 'external'" in said


def test_pytest_takes_urls(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with them is said without a traceback."""
    monkeypatch.delenv("CACHEPROOF_REDIS_URL", raising=False)
    pytester.makepyfile("def test_it(verify): ...")
    for options, words in (
        ((), "*set CACHEPROOF_REDIS_URL to redis://HOST:PORT*"),
        (
            ("--chaos-redis-url=redis://127.0.0.1:1", "--chaos-database-url=postgresql://127.0.0.1:1/x"),
            "*the cache server at 127.0.0.1:1 cannot be used*",
        ),
    ):
        result = pytester.runpytest_subprocess("--chaos-backend=external", *options, "-W", "error")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([words])
        assert "Traceback" not in result.stdout.str()
