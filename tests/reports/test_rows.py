"""Rows: who acts, towards whom, and what came of it."""

from types import ModuleType

from cacheproof.models.decision import ServerName
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.reports.rows import Row, initial_rows, rows_of
from cacheproof.reports.steps import steps_of

CACHE, DATABASE = ServerName.CACHE, ServerName.DATABASE


def rows(stories: ModuleType, name: str) -> list[Row]:
    found = getattr(stories, name)()
    return list(rows_of(found, steps_of(found)))


def row(stories: ModuleType, name: str, number: int) -> Row:
    return next(item for item in rows(stories, name) if item.number == number)


def test_a_change_says_more_than_the_reply(stories: ModuleType) -> None:
    """A SET shows what the cache holds now, a GET what it answered."""
    assert (row(stories, "stale_set", 8).label, row(stories, "stale_set", 2).label) == ("v1", "miss")
    assert row(stories, "stale_set", 8).marks[0] == "✗ older than the database"


def test_a_lost_reply_still_shows_its_effect(stories: ModuleType) -> None:
    """The request arrived: the server holds the value, and the client hears nothing."""
    assert row(stories, "lost_reply", 2).label == "v2   ◄✗ reply lost"


def test_a_lost_request_reaches_nobody(stories: ModuleType) -> None:
    """The arrow ends on the way, and there is no reply to show."""
    lost = row(stories, "lost_invalidation", 8)
    assert (lost.arrow, lost.label) == ("──✗ lost", "")


def test_a_pop_shows_what_it_took(stories: ModuleType) -> None:
    """What is left in the queue says less; the arrow of a reply that came later points back."""
    pop = row(stories, "lost_write", 4)
    assert (pop.label, pop.arrow) == ("v2", "◄──")


def test_a_kill_stands_in_the_lane_of_the_server(stories: ModuleType) -> None:
    """A killed cache is drawn where it is, with what was lost."""
    kill = row(stories, "lost_write", 5)
    assert (kill.lane, kill.text) == (CACHE, "✕ is killed: all gone")


def test_waiting_operations_stay_visible(stories: ModuleType) -> None:
    """While A acts, B's open operation is marked in its lane."""
    assert row(stories, "stale_set", 4).open_lanes == {1}
    assert row(stories, "stale_set", 10).open_lanes == set()


def test_the_culprit_is_marked_where_it_ends(stories: ModuleType) -> None:
    """The mark of the finding stands beside the return of the culprit, and nowhere else."""
    marked = [item.number for item in rows(stories, "stale_set") if "acknowledged" in "".join(item.marks)]
    assert marked == [12]


def test_the_epilogue_is_announced_once(stories: ModuleType) -> None:
    """A dim note stands where the schedule ends."""
    notes = [item.text for item in rows(stories, "stale_set") if item.number is None]
    assert notes == ["┈┈ epilogue: everything is quiet now"]


def test_the_start_is_shown_with_the_key_of_the_finding_first(stories: ModuleType) -> None:
    """Several keys stand below each other; an empty cache says so once."""
    start = list(initial_rows(stories.two_keys()))
    assert [item.beside for item in start] == [
        {CACHE: "empty", DATABASE: "user:2 = v2"},
        {CACHE: "", DATABASE: "user:1 = v1"},
    ]


def rows_of_story(stories: ModuleType, text: str) -> list[Row]:
    """The rows of a story that ends with a stale read by A."""
    ending = "\n--: heal\n--: drain\n--: quiesce\n--: final-reads\nA: read! user:1\nA: GET user:1\nA: ok v1"
    found = stories.told(text + ending, ReadAfterWrite(), "stale-set")
    return list(rows_of(found, steps_of(found)))


WRITTEN = """
A: read user:1
A: GET user:1
A: select user:1
A: SET user:1 v1
A: ok v1
B: write user:1 v2
B: update user:1 v2
"""


def test_a_late_request_is_on_its_way_and_arrives(stories: ModuleType) -> None:
    """The arrow ends on the way; later it reaches the server, and nobody is pointed at."""
    found = rows_of_story(
        stories,
        "A: read user:1\nA: GET user:1\nA: select user:1\nA: SET user:1 v1 !delayed !waits\nA: fail reset\n"
        "B: write user:1 v2\nB: update user:1 v2\nB: DEL user:1\nB: ok\n"
        "A: arrive SET\nA: SET user:1 v1 !delayed !waited",
    )
    sent, arrived = [row for row in found if "SET" in row.text and row.target is CACHE]
    assert (sent.arrow, sent.label) == ("──✗ delayed", "")
    assert (arrived.arrow, arrived.label, arrived.text[0]) == ("──►", "v1", "·")
    (fault,) = [row for row in found if "arrives" in row.text]
    assert (fault.lane, fault.text) == (0, "⇠ its delayed SET arrives")


def test_a_refusal_shows_the_error(stories: ModuleType) -> None:
    """In place of what would have changed; nothing did."""
    error = '{"error": "READONLY You can\'t write against a read only replica."}'
    found = rows_of_story(stories, f"{WRITTEN}B: DEL user:1 !refused -> {error}\nB: ok")
    (refused,) = [row for row in found if "DEL" in row.text]
    assert refused.label.startswith("✗ READONLY") and refused.label_style == "fault"


def test_faults_stand_in_the_lane_of_whom_they_meet(stories: ModuleType) -> None:
    """A client's in its own, a server's in the server's, what befalls everybody across all."""
    found = rows_of_story(
        stories,
        f"{WRITTEN}A: pause\ncache: freeze\nB: skew 60\n*: evict user:9\nB: partition silent\nA: resume\n"
        "cache: thaw\nB: ok",
    )
    lanes = {row.text.split()[1]: row.lane for row in found if row.style == "fault" and not row.ruled}
    assert lanes == {"pauses": 0, "freezes": CACHE, "its": 1, "the": 1, "goes": CACHE}
    assert [row.text for row in found if row.ruled and row.style == "fault"] == ["✕ user:9 is evicted"]
