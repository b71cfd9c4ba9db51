"""EDN histories: keys in their own field or beside the value, times, tags; all else is refused."""

import pytest

from cacheproof.models.edn_history import KEY, read_edn
from cacheproof.models.history import History
from cacheproof.models.malformed import Malformed
from cacheproof.models.operation import Outcome, Value

CALL = '{:process 0, :type :invoke, :f :get, :key "a", :value nil}'
END = '{:process 0, :type :ok, :f :get, :key "a", :value "x"}'


def history(*lines: str) -> History:
    return read_edn(lines).history()


def told(*lines: str) -> list[tuple[str, str | None, Value]]:
    return [(op.f, op.key, op.value) for op in history(*lines).operations]


def test_a_key_of_its_own() -> None:
    """Get, put and append on strings that begin as ""."""
    found = read_edn(
        [
            CALL + "\n",
            '{:process 1 :type :invoke :f :put :key "b" :value "y"} ; at the same time\r\n',
            END + '{:process 1, :type :ok, :f :put, :key "b", :value "y"}',
        ]
    )
    assert found.vocabulary is not None and found.vocabulary.model == "key-value"
    assert found.history().initial == {"a": "", "b": ""}
    assert [(op.f, op.key, op.value, op.invoked, op.returned) for op in found.history().operations] == [
        ("read", "a", "x", 0, 2),
        ("write", "b", "y", 1, 3),
    ]


def test_a_key_beside_the_value() -> None:
    """As Jepsen writes independent keys; an end that lost the pair has the key of its invocation."""
    found = history(
        "#jepsen.history.Op{:index 3, :time 1500000000 :type :invoke :process 0 :f :cas :value [7 [1 2]]}",
        "{:index 9, :time 2000000000, :type :invoke, :process 1, :f :read, :value [7 nil]}",
        "{:index 10, :time 2500000000, :type :info, :process 0, :f :cas, :value :timed-out, :error :oh}",
        "#knossos.op.Op{:index 11, :time 3000000000, :type :ok, :process 1, :f :read, :value [7 2]}",
    )
    assert found.initial == {"7": None}
    cas, read = found.operations
    assert (cas.f, cas.key, cas.value, cas.outcome, cas.error) == ("cas", "7", (1, 2), Outcome.INFO, ":oh")
    assert (read.key, read.value, read.invoked_s, read.returned_s) == ("7", 2, 2.0, 3.0)


def test_no_key_at_all() -> None:
    """One register; a compare-and-set of scalars is no pair of a key and a value."""
    assert told("{:process 0 :type :invoke :f :cas :value [1 2]}") == [("cas", KEY, (1, 2))]
    assert told("{:process 0 :type :invoke :f :read :value nil}") == [("read", KEY, None)]
    assert told("{:process 0 :type :invoke :f :acquire :value nil}") == [("acquire", KEY, None)]


@pytest.mark.parametrize(("form", "key"), [('"a"', "a"), ("12", "12"), (":a/b", ":a/b")])
def test_keys_are_strings_numbers_or_keywords(form: str, key: str) -> None:
    """As text."""
    assert told(CALL.replace('"a"', form))[0][1] == key


def test_what_says_nothing_about_the_history() -> None:
    """The nemesis, blank lines, comments, and keys that are not known."""
    assert told(
        "; made by hand",
        "",
        "{:process :nemesis, :type :info, :f :start, :value {:a #{1}}}",
        CALL.replace(":key", ':"x" 1 :node #{1}, :key').replace(':"x"', '"x"'),
        "#_ {:process 9}",
        END.replace(":key", ":error :none, :key"),
    ) == [("read", "a", "x")]


def test_a_failed_compare_and_set_asserts_nothing() -> None:
    """A client may fail for any reason."""
    call = "{:process 0 :type :invoke :f :cas :value [1 2]}"
    (operation,) = history(call, call.replace("invoke", "fail")).operations
    assert (operation.outcome, operation.result) == (Outcome.FAIL, None)
    (operation,) = history(call, "{:process 0 :type :fail :f :cas}").operations
    assert operation.outcome is Outcome.FAIL


PAIR = "{:process 0 :type :invoke :f :read :value [1 nil]}"


@pytest.mark.parametrize(
    ("lines", "place", "what"),
    [
        ([CALL[:-1]], (1, 1), "this map does not end on its line"),
        ([f"[{CALL}]"], (1, 1), "is no event; expected a map such as {:process 0, :type :invoke, …}"),
        ([f"#other{CALL}"], (1, 1), "is no event"),
        ([CALL + " 7"], (1, 60), "7 is no event"),
        (
            [CALL, '{:process 0, :type :ok, :f :get, :key "a", :value "x}'],
            (2, 51),
            "this string does not end",
        ),
        (
            [CALL.replace(":process 0, ", "")],
            (1, 1),
            ":process is missing; expected a whole number of at least",
        ),
        ([CALL.replace("0", '"0"')], (1, 11), ":process is '0'; expected a whole number of at least 0"),
        ([CALL.replace("0", "true")], (1, 11), ":process is True; expected a whole number"),
        ([CALL.replace("0", "-1")], (1, 11), ":process is -1; expected a whole number"),
        (
            [CALL.replace(":invoke", ":begin")],
            (1, 20),
            ":type is :begin; expected :invoke, :ok, :fail or :info",
        ),
        ([CALL.replace(":invoke", '"invoke"')], (1, 20), ":type is 'invoke'; expected a keyword"),
        ([CALL.replace(":f :get, ", "")], (1, 1), ":f is missing; expected a keyword"),
        ([CALL.replace(":get", ":txn")], (1, 32), "not supported: :txn; expected :read :write :cas or"),
        ([CALL.replace(", :value nil", "")], (1, 1), ":value is missing; expected what was given"),
        ([CALL.replace('"a"', "1.5")], (1, 43), "not supported: 1.5 as a key; expected a string"),
        ([CALL.replace('"a"', "true")], (1, 43), "not supported: True as a key"),
        ([CALL.replace('"a"', "1"), END.replace('"a"', '"1"')], (2, 39), "'1' and 1 are both keys"),
        (
            [CALL, END.replace(':key "a", ', "")],
            (2, 1),
            ":key is missing; expected a key, as on the lines before",
        ),
        ([PAIR, CALL], (2, 43), ":key is 'a'; expected no key, as on the lines before"),
        (
            [PAIR, PAIR.replace("invoke", "ok").replace("[1 nil]", "3")],
            (2, 39),
            "expected [key value], as on",
        ),
        ([PAIR.replace("[1 nil]", "nil"), PAIR.replace("0", "1")], (2, 43), "(1, None) is given to a :read"),
        ([CALL, '{:process 1 :type :ok :f :get :key "a" :value nil}'], (2, 11), "process 1 returns without"),
        ([CALL, CALL], (2, 11), "process 0 invokes while its :get of line 1 is open"),
        (
            [CALL.replace(":f", ":index 4, :f"), END.replace(":f", ":index 4, :f")],
            (2, 32),
            ":index is 4 after 4",
        ),
        ([CALL.replace(":f", ":index x, :f")], (1, 36), ":index is x; expected a whole number"),
        ([CALL.replace(":f", ":time 4, :f"), END], (2, 1), ":time is missing; expected it to be there"),
        ([CALL, END.replace(":f", ":time 4, :f")], (2, 31), ":time is there; expected it to be missing"),
        ([CALL.replace(":f", ":time 4.5, :f")], (1, 35), ":time is 4.5; expected a whole number"),
    ],
)
def test_everything_else_is_refused_where_it_stands(
    lines: list[str], place: tuple[int, int], what: str
) -> None:
    """The line, the column of the value that is wrong, and what was expected."""
    with pytest.raises(Malformed) as caught:
        read_edn(lines)
    assert (caught.value.line, caught.value.column) == place
    assert what in caught.value.what
