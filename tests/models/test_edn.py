"""EDN: every form, and the place of whatever is none."""

from math import inf, isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.models.edn import (
    Character,
    Form,
    Keyword,
    Map,
    Placed,
    Symbol,
    Tagged,
    read_form,
    read_forms,
)
from cacheproof.models.malformed import Malformed


def forms(text: str) -> list[Form]:
    return [placed.form for placed in read_forms(text)]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("nil", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("7N", 7),
        ("1.5", 1.5),
        ("-1e3", -1000.0),
        ("2.", 2.0),
        ("##Inf", inf),
        ("##-Inf", -inf),
        ('""', ""),
        (r'"a\"b\\c\n\t\r\b\f\u00e9"', 'a"b\\c\n\t\r\b\fé'),
        (r"\a", Character("a")),
        (r"\newline", Character("\n")),
        (r"\u0041", Character("A")),
        (r"\(", Character("(")),
        (":a", Keyword("a")),
        (":my.ns/timed-out", Keyword("my.ns/timed-out")),
        ("a", Symbol("a")),
        ("nilly", Symbol("nilly")),
        ("-", Symbol("-")),
        ("[]", ()),
        ("[1 [2 3], (4)]", (1, (2, 3), (4,))),
        ("#{1 2}", frozenset({1, 2})),
        ("#{}", frozenset()),
        ("{}", Map({})),
        ('{:a 1, "b" nil}', Map({Keyword("a"): 1, "b": None})),
        ('#inst "1985"', Tagged("inst", "1985")),
        ("#a #b [1]", Tagged("a", Tagged("b", (1,)))),
        ("[1 #_ 2 3 #_ #_ 4 5]", (1, 3)),
        ("{:a #_ 1 2}", Map({Keyword("a"): 2})),
    ],
)
def test_forms(text: str, form: Form) -> None:
    """Each is what the notation says; 1, 1.0 and true stay three things."""
    (found,) = forms(text)
    assert found == form and type(found) is type(form)


def test_a_number_may_be_none() -> None:
    """Which is equal to nothing."""
    (found,) = forms("##NaN")
    assert isinstance(found, float) and isnan(found)


def test_blanks_commas_and_comments_say_nothing() -> None:
    """A comment ends with the line."""
    assert forms(' , 1,,2 ; 3 ] "\r') == [1, 2]
    assert forms("") == forms(" , ") == forms("; all of it") == forms("#_ x") == []


def test_places() -> None:
    """The column of each form, that of a tagged one being its tag's, and of each value in a map."""
    assert read_forms("1  [2] #t 3") == (Placed(1, 1, 1), Placed((2,), 4, 6), Placed(Tagged("t", 3), 8, 11))
    (placed,) = read_forms('{:a  1, :bc #t "x"}')
    assert isinstance(placed.form, Map)
    assert placed.form.columns == {Keyword("a"): 6, Keyword("bc"): 13}


def test_one_form_after_another() -> None:
    """From an offset on, with the offset at which it ends."""
    assert read_form("ab [1] x", start=2) == Placed((1,), 4, 6)
    assert read_form("ab ; x", start=2) is None


def test_names_in_messages() -> None:
    """Keywords and symbols are shown as they are written."""
    assert repr((Keyword("a/b"), Symbol("c"))) == "(:a/b, c)"


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("{:a 1", 1, "this map does not end on its line; expected '}'"),
        ("  [1 #{2", 6, "this set does not end on its line; expected '}'"),
        ("(1", 1, "this list does not end on its line; expected ')'"),
        ("[1 (2]", 6, "']' closes nothing; expected ')'"),
        ("1 ]", 3, "']' closes nothing"),
        ("{:a}", 2, ":a has no value in its map"),
        ("{:a 1 :a 2}", 7, ":a occurs twice as a key of a map; expected it once"),
        ("#{1 1.0}", 5, "1.0 occurs twice as a member of a set; expected it once"),
        ("#{{}}", 3, "not supported: a map in a member of a set"),
        ("{[{}] 1}", 2, "not supported: a map in a key of a map"),
        (' "abc', 2, "this string does not end on its line"),
        (r'"a\x"', 1, r"'\\x' is no escape of a string"),
        (r'"\u12"', 1, r"'\\u' is no escape of a string"),
        (r"\foo", 1, "'foo' names no character"),
        ("01", 1, "not supported: '01' as a number"),
        ("1/2", 1, "not supported: '1/2' as a number"),
        ("1.5M", 1, "not supported: '1.5M' as a number"),
        ("9" * 5000, 1, "4300 digits"),
        ("##Infinity", 1, "not supported: '##Infinity'"),
        ("[#_]", 2, "'#_' stands before nothing; expected a form"),
        ("#foo", 1, "'#foo' stands before nothing; expected a form"),
        ("[1 @x]", 4, "'@x]' is no EDN; expected a form"),
        ("::a", 1, "'::a' is no EDN; expected a form"),
        ("\\", 1, "is no EDN; expected a form"),
    ],
)
def test_what_is_no_form_is_refused_with_its_place(text: str, column: int, what: str) -> None:
    """With line, column and what was expected."""
    with pytest.raises(Malformed) as caught:
        read_forms(text, line=7)
    assert caught.value.line == 7
    assert what in caught.value.what
    assert caught.value.column == column


SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]))
FORMS: st.SearchStrategy[Form] = st.recursive(
    SCALARS | st.sampled_from([Keyword("k"), Symbol("s/t")]),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.builds(Map, st.dictionaries(st.text("abc", min_size=1).map(Keyword), inner, max_size=3))
        | st.builds(Tagged, st.just("tag"), inner)
    ),
    max_leaves=8,
)


def written(form: Form) -> str:
    """The form in EDN, by rules of its own."""
    match form:
        case None:
            return "nil"
        case bool():
            return str(form).lower()
        case str():
            return '"' + "".join(f"\\u{ord(c):04x}" if c < " " or c in '"\\' else c for c in form) + '"'
        case tuple():
            return f"[{' '.join(map(written, form))}]"
        case Map():
            return f"{{{', '.join(f'{written(k)} {written(v)}' for k, v in form.entries.items())}}}"
        case Tagged():
            return f"#{form.tag} {written(form.form)}"
    return repr(form)


@settings(max_examples=300, deadline=None)
@given(st.lists(FORMS, max_size=3))
def test_what_is_written_is_read(items: list[Form]) -> None:
    """Any forms in any nesting."""
    assert forms(" ".join(map(written, items))) == items


@settings(max_examples=500, deadline=None)
@given(st.text('{}[]()#_"\\:;, \n01.aNM@-u', max_size=12))
def test_every_text_is_read_or_refused(text: str) -> None:
    """Never another error, and the column lies in the text or right behind it."""
    try:
        read_forms(text)
    except Malformed as error:
        assert 1 <= error.column <= len(text) + 1


@pytest.mark.parametrize("opener", ["[", "(", "{:a ", "#{", "#a ", "#_ "])
def test_nesting_has_a_limit(opener: str) -> None:
    """A hundred levels are more than anything that is recorded; more could exhaust Python's stack."""
    assert len(forms("[" * 100 + "]" * 100)) == 1
    with pytest.raises(Malformed, match="not supported: more than 100 levels"):
        read_forms(opener * 101)
