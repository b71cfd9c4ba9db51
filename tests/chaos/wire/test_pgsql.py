"""What is read from SQL text: verbs, whether it may write, keys, and words for people."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.pgsql import Statement, keys_in, may_write, verb, verbs, words


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 1", ["SELECT"]),
        ("", []),
        (" ;; -- nothing\n;/* ; */", []),
        ("-- why\n/* a /* nested */ one */ (( select 1) union select 2)", ["SELECT"]),
        ("BEGIN; update t set x = ';'; Commit;", ["BEGIN", "UPDATE", "COMMIT"]),
        ("select 'it''s; fine', E'it\\'s; fine', \"a;\"\"b\"; show x", ["SELECT", "SHOW"]),
        ("select $$;$$, $tag$ ; $$ ; $tag$, a$b$ ; select $1;", ["SELECT", "SELECT"]),
        ("create rule r as on insert to t do also (delete from u; select 1); select 2", ["CREATE", "SELECT"]),
        (
            "create or replace function f() begin atomic select case when true then 1 end; select 2; end; select 3",
            ["CREATE", "SELECT"],
        ),
        ("create procedure p() begin atomic; delete from t; end", ["CREATE"]),
        ("create table begin_end(x int); end; begin", ["CREATE", "END", "BEGIN"]),
        ("select case when true then 1 end; select 2", ["SELECT", "SELECT"]),
        ("select 'unterminated ; select", ["SELECT"]),
        ('select "unterminated ; select', ["SELECT"]),
        ("select $$unterminated ; select", ["SELECT"]),
        ("select e'unterminated ; \\", ["SELECT"]),
        ("select /* unterminated ; /* */ select", ["SELECT"]),
        ("select 1) ; select 2", ["SELECT", "SELECT"]),
    ],
)
def test_statements_are_told_apart(sql: str, expected: list[str]) -> None:
    """Semicolons count outside quotes, comments, parentheses and bodies of routines only."""
    assert list(verbs(sql)) == expected
    assert verb(sql) == (expected[0] if expected else "")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("with a as (select 1) insert into t select * from a", "INSERT"),
        (
            "WITH RECURSIVE a(n) AS NOT MATERIALIZED (delete from t), b as (select 1) Select * from a",
            "SELECT",
        ),
        ("with update as (select 1), delete as (select 2) merge into t using u on true", "MERGE"),
        ("with a as (select 1) search breadth first by n set o select 1", "SELECT"),
        ("with a as (select 1) (select * from a)", "WITH"),
        ('"odd"', '"odd"'),
        ("((", "("),
    ],
)
def test_the_verb_of_the_main_statement(sql: str, expected: str) -> None:
    """WITH is named by what follows it, where that can be told."""
    assert verb(sql) == expected


READS = """
    select value from records where key = $1
    SELECT r.value FROM public.records AS r WHERE r.key IN ('a', 'b') AND (version > 3 OR x) FOR UPDATE
    select value from records where key = any($1) for no key update of records skip locked
    select count(*), max(version), lower(key) from records group by (key) having sum(version) > 1
    select coalesce(value, 'update f(x)') from "records" -- select f(x)
    select value::varchar(10) from records where exists (select 1) limit (1)
    with a as (select 1), b as materialized (values (1)) select * from a, b
    table records
    values (1), (2)
    begin; set local x = 1; show x; savepoint s; release s; rollback
    start transaction; select 1; abort
    discard all; deallocate all; reset all; close c; listen x; unlisten *
    set search_path to constraints
"""
WRITES = """
    update records set value = $1
    insert into records values (1)
    delete from records
    merge into records using x on true when matched then delete
    commit
    end
    SYNC
    select f(1)
    select "lower"(key) from records
    select own.lower(key) from records
    select nextval('s')
    select 1 into other
    with a as (update records set value = 1 returning 1) select * from a
    with a as (delete from records returning 1) select * from a
    with a as (select 1) (select * from a)
    select 1; commit
    call p()
    do $$ $$
    execute s
    fetch c
    explain analyze update records set value = 1
    copy records from stdin
    truncate records
    set constraints all immediate
    FUNCTION 12
    nonsense
"""


@pytest.mark.parametrize("sql", [line.strip() for line in READS.strip().splitlines()])
def test_what_surely_writes_nothing(sql: str) -> None:
    """Readers and statements about the session do not write; quotes and comments do not matter."""
    assert not may_write(sql)


@pytest.mark.parametrize("sql", [line.strip() for line in WRITES.strip().splitlines()])
def test_what_may_write(sql: str) -> None:
    """Writers, COMMIT, calls of unknown functions and everything unknown may write."""
    assert may_write(sql)


def test_an_empty_text_writes_nothing() -> None:
    """No statement, no write."""
    assert not may_write("") and not may_write(" ; ")


@pytest.mark.parametrize(
    ("sql", "parameters", "expected"),
    [
        ("select $1", ("b",), "b"),
        ("select $1, $2, $3", ("c", None, "a"), "a c"),
        ("select $1", ("ab",), ""),
        ("select 'a', \"b\", c", (), "a"),
        ("select 'a''b'", (), "a'b"),
        ("select E'a\\'b', e'\\d', E'a''''b", (), "d a'b"),
        ("select $$b$$, $x$d$x$", (), "b d"),
        ("select 'a' -- 'b'\n/* 'c' */", (), "a"),
        ("select * from t where k = any($1)", ('{a,"b",NULL}',), "a b"),
        ('select \'{ c , "a\\"b"}\'', (), "c"),
        ("select $1", ("{}",), ""),
        ("select 7, $1", ("1",), "1"),
        ("select '7'", (), "7"),
    ],
)
def test_keys_are_found_as_parameters_and_literals(
    sql: str, parameters: tuple[str | None, ...], expected: str
) -> None:
    """A key counts as a whole parameter, a whole literal, or an element of an array; each once, in order."""
    keys = ("a", "b", "c", "d", "1", "7", "a'b")
    assert keys_in(Statement(sql, parameters), keys) == tuple(expected.split())


def test_words_are_one_line_without_comments() -> None:
    """Blanks and comments fold to one blank, literals stay, parameters follow; NULL is spelled out."""
    statement = Statement("  select 'a  b',\n\t$1 -- trace 17\n from /* x */ t ", ("two  blanks", None))
    assert words(statement) == ("select 'a  b', $1 from t", "two  blanks", "NULL")


def test_long_texts_are_read_like_short_ones() -> None:
    """A text that is too long to be cached with the others gives the same."""
    sql = f"insert into t values ('{'x' * 5000}'), ('k'); commit"
    assert verbs(sql) == ("INSERT", "COMMIT") and may_write(sql)
    assert keys_in(Statement(sql), ("k",)) == ("k",)


PARTS = st.sampled_from(list("'\"$;()/*-\\eE \nab1{},") + ["$$", "/*", "*/", "--", "begin", "with", "select"])


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=30).map("".join) | st.text(max_size=30))
def test_any_text_is_read(sql: str) -> None:
    """Nothing raises, and folding what is already folded changes nothing but comments that it opened."""
    statement = Statement(sql, (sql,))
    assert len(words(statement)) == 2 and words(statement)[1] == sql
    assert isinstance(may_write(sql), bool) and all(verbs(sql))
    assert keys_in(statement, (sql, "no such key")) == (sql,)


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(exclude_characters="\0"), max_size=20),
    st.sampled_from(["quote", "escape", "dollar"]),
)
def test_a_quoted_literal_is_read_back(text: str, style: str) -> None:
    """Whatever is quoted by PostgreSQL's rules is found again as a whole, and hides what is in it."""
    quoted = {
        "quote": "'" + text.replace("'", "''") + "'",
        "escape": "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'",
        "dollar": f"$q${text.replace('$', '')}$q$",
    }[style]
    expected = text.replace("$", "") if style == "dollar" else text
    statement = Statement(f"select {quoted}; commit")
    assert verbs(statement.sql) == ("SELECT", "COMMIT")
    assert keys_in(statement, (expected,)) == (expected,)
