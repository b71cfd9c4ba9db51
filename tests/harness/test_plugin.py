"""The pytest plugin, in sessions of its own: fixture, marker, options, report and matrix."""

import json
import re
from pathlib import Path

import pytest

from cacheproof.chaos.servers.backends import BACKENDS
from cacheproof.chaos.servers.engine import Engine
from cacheproof.chaos.servers.recipes import build_images

pytest_plugins = ["pytester"]

EXAMPLES = Path(__file__).parents[2] / "examples"
USER_TESTS = """
    import pytest
    from cacheproof import CACHE_ASIDE, Condition, Expect
    from cacheproof.patterns.cache_aside import CacheAside

    ALONE = [Condition.CONCURRENT]

    @pytest.mark.chaos
    def test_nothing_is_lost(verify):
        report = verify(CacheAside, CACHE_ASIDE().only(["CA1", "CA5"]), under=ALONE, budget=0)
        assert report.verdict.value == "upheld"

    @pytest.mark.chaos
    def test_reads_are_fresh(verify):
        verify(CacheAside, CACHE_ASIDE().only(["CA4"]), under=ALONE, budget=0)

    @pytest.mark.chaos
    def test_the_truth_is_known(verify):
        verify(CacheAside, CACHE_ASIDE().only(["CA4", "CA5"]), under=ALONE, budget=0, expect=Expect.TRUTH)
"""


@pytest.fixture
def outcome(pytester: pytest.Pytester) -> pytest.RunResult:
    """A session with one test that fails and two that pass."""
    pytester.makepyfile(USER_TESTS)
    return pytester.runpytest_subprocess("--chaos-profile=quick", "-m", "chaos", "-p", "no:cacheprovider")


def test_a_session(pytester: pytest.Pytester, outcome: pytest.RunResult) -> None:
    """A broken promise fails its test with the counterexample; the matrix and the reports come at the end."""
    outcome.assert_outcomes(passed=2, failed=1)
    outcome.stdout.fnmatch_lines(
        [
            "cacheproof: profile quick, seed 0, report in .cacheproof",
            "*_ test_reads_are_fresh _*",
            "*stale set*",
            "*= cacheproof =*",
            "reports, histories and failures to replay: .cacheproof",
        ]
    )
    assert "Traceback" not in outcome.stdout.str()
    folder = pytester.path / ".cacheproof"
    (failure,) = (folder / "anomalies").iterdir()
    assert failure.name.startswith("stale-set-")
    outcome.stdout.fnmatch_lines([f"*cacheproof replay .cacheproof/anomalies/{failure.name}*"])
    written = [json.loads(path.read_text()) for path in (folder / "report").rglob("*.json")]
    assert written


def test_parallel_workers_hand_over_their_reports(pytester: pytest.Pytester) -> None:
    """Each has servers of its own; the matrix at the end has the reports of all of them."""
    pytester.makepyfile(USER_TESTS)
    outcome = pytester.runpytest_subprocess(
        *("-n", "2", "--chaos-profile=quick", "--chaos-seed=random", "-m", "chaos", "-p", "no:cacheprovider")
    )
    outcome.assert_outcomes(passed=2, failed=1)
    outcome.stdout.fnmatch_lines(
        ["*= cacheproof =*", "reports, histories and failures to replay: .cacheproof"]
    )
    summary = outcome.stdout.str().rpartition("= cacheproof =")[2].partition("= short test summary")[0]
    header = re.search(r"seed (\d+)", outcome.stdout.str())
    assert len(re.findall(r"^CacheAside: .* seed", summary, re.MULTILINE)) == 3 and header is not None
    seeds = {
        json.loads(file.read_text())["seed"] for file in (pytester.path / ".cacheproof/report").glob("*.json")
    }
    assert seeds == {int(header[1])}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--chaos-profile=quik"], "unknown profile 'quik'; choose from quick, default, thorough"),
        (["--chaos-seed=-1"], "the seed is '-1'; expected a whole number, 0 or more, or 'random'"),
        (["--chaos-seed=x"], "the seed is 'x'"),
        (["--chaos-backend=cloud"], "invalid choice: 'cloud'"),
    ],
)
def test_a_bad_option_is_a_usage_error(pytester: pytest.Pytester, options: list[str], message: str) -> None:
    """Exit code 4 of pytest, the value and what to write instead, before anything runs."""
    pytester.makepyfile("def test_nothing(): ...")
    result = pytester.runpytest_subprocess("-m", "chaos", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


def test_the_report_goes_where_it_is_told(pytester: pytest.Pytester) -> None:
    """`--chaos-report` names the folder; seed and profile are in the header."""
    pytester.makepyfile(
        """
        from cacheproof import CACHE_ASIDE, Condition
        from cacheproof.patterns.cache_aside import CacheAside

        def test_nothing_is_lost(verify):
            verify(CacheAside, CACHE_ASIDE().only(["CA5"]), under=[Condition.CONCURRENT], budget=0)
        """
    )
    result = pytester.runpytest_subprocess("--chaos-seed=7", "--chaos-report=elsewhere", "-W", "error")
    result.assert_outcomes(passed=1)
    assert list((pytester.path / "elsewhere" / "report").rglob("*.json"))
    assert not (pytester.path / ".cacheproof").exists()


@pytest.fixture
def user_test(pytester: pytest.Pytester) -> None:
    """One test of a user, which is upheld."""
    pytester.makepyfile(
        """
        from cacheproof import CACHE_ASIDE, Condition
        from cacheproof.patterns.cache_aside import CacheAside

        def test_nothing_is_lost(verify):
            report = verify(CacheAside, CACHE_ASIDE().only(["CA5"]), under=[Condition.CONCURRENT], budget=0)
            assert "container of" in report.servers["cache"]
        """
    )


@pytest.mark.usefixtures("user_test")
def test_without_an_engine_containers_are_an_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, without a traceback."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pytester.path}/none.sock")
    result = pytester.runpytest_subprocess("--chaos-backend=docker", "-W", "error")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["no Docker engine answers at 'unix:///*none.sock' (*); start one, set DOCKER_HOST*"]
    )
    assert "Traceback" not in result.stdout.str() and "connect_engine" not in result.stdout.str()


@pytest.mark.usefixtures("user_test")
def test_the_same_tests_on_containers(pytester: pytest.Pytester, engine: Engine) -> None:
    """Only the option differs."""
    assert len(list(build_images(engine))) == 2
    result = pytester.runpytest_subprocess("--chaos-backend=docker", "-W", "error")
    result.assert_outcomes(passed=1)


@pytest.mark.usefixtures("user_test")
def test_an_image_that_cannot_be_had(pytester: pytest.Pytester, engine: Engine) -> None:
    """Which, and what to do."""
    result = pytester.runpytest_subprocess("--chaos-backend=docker", "--chaos-cache-image=cacheproof/none:0")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["image 'cacheproof/none:0' is missing: *run: cacheproof images build*"])


def test_the_backends_are_those_that_there_are(pytester: pytest.Pytester) -> None:
    """The plugin lists them itself, since it must not import what it lists."""
    listed = pytester.runpytest("--chaos-backend=nothing").stderr.str()
    assert all(f"'{name}'" in listed or name in listed for name in BACKENDS)


def test_the_header_names_the_backend(pytester: pytest.Pytester) -> None:
    """Unless it is the usual one."""
    pytester.makepyfile("def test_nothing(): ...")
    result = pytester.runpytest_subprocess("-m", "chaos", "--chaos-backend=docker", "--chaos-report=r")
    result.stdout.fnmatch_lines(["cacheproof: profile default, seed 0, report in r, servers from docker"])


def test_other_sessions_are_left_alone(pytester: pytest.Pytester) -> None:
    """Who tests no cache pays nothing: neither Hypothesis nor a driver is imported, and nothing is said."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            assert not {"hypothesis", "psycopg", "redis", "cacheproof.harness.verify"} & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "--strict-markers")
    result.assert_outcomes(passed=1)
    assert "cacheproof" not in result.stdout.str().partition("collected")[2]
    assert not (pytester.path / ".cacheproof").exists()


@pytest.mark.parametrize("example", ["test_user_cache.py", "test_dogpile_cache.py"])
def test_the_examples_find_the_stale_set(pytester: pytest.Pytester, example: str) -> None:
    """What the README shows is what happens; narrowed to one condition, for it to be quick."""
    pytester.makeconftest(
        """
        import functools
        import pytest
        from cacheproof import Condition

        @pytest.fixture
        def verify(verify):
            return functools.partial(verify, under=[Condition.CONCURRENT], budget=0)
        """
    )
    pytester.makepyfile(**{example.removesuffix(".py"): (EXAMPLES / example).read_text()})
    result = pytester.runpytest_subprocess("--chaos-profile=quick")
    result.assert_outcomes(failed=1)
    assert "stale set" in result.stdout.str().lower()
