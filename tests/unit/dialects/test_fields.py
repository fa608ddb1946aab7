from __future__ import annotations

import pytest

from proxy.dialects.fields import (
    TEXT_OR_PARTS,
    array,
    boolean,
    entries,
    integer,
    join,
    mapping,
    needed_mapping,
    needed_objects,
    needed_string,
    needed_word,
    number,
    objects,
    shown,
    string,
    strings,
    word,
    wrong_type,
    wrong_value,
    wrong_word,
)
from proxy.errors import GatewayError, Kind

WORDS = ("red", "green")

ONE = {
    string: "a",
    boolean: False,
    integer: 0,
    number: 0.5,
    mapping: {"b": 1},
    array: [None],
    strings: ["a", ""],
    needed_string: "",
    needed_mapping: {},
}
"""A value that each look takes as it is."""


def fault(look, value, **more):
    """Look at ``value`` as the field ``f`` of an object at ``x[0]``."""
    with pytest.raises(GatewayError) as refused:
        look({"f": value}, "f", at="x[0]", **more)
    assert refused.value.kind is Kind.INVALID_REQUEST
    assert refused.value.param is not None
    place = f"`{refused.value.param}`: "
    assert refused.value.message.startswith(place)
    return refused.value.param, refused.value.message.removeprefix(place)


@pytest.mark.parametrize(("look", "value"), ONE.items())
def test_a_right_value_comes_back_as_it_is(look, value):
    assert look({"f": value}, "f") is value


@pytest.mark.parametrize("look", [string, boolean, integer, number, mapping])
@pytest.mark.parametrize("holder", [{}, {"f": None}])
def test_a_null_counts_as_absent(look, holder):
    assert look(holder, "f") is None


@pytest.mark.parametrize("look", [array, strings, objects])
@pytest.mark.parametrize("holder", [{}, {"f": None}])
def test_an_absent_array_is_empty(look, holder):
    assert look(holder, "f") == []


@pytest.mark.parametrize(
    ("look", "value", "message"),
    [
        (string, 1, "found an integer, expected a string."),
        (boolean, 1, "found an integer, expected a boolean."),
        (boolean, "true", "found a string, expected a boolean."),
        (integer, True, "found a boolean, expected an integer."),
        (integer, 1.0, "found a number, expected an integer."),
        (number, True, "found a boolean, expected a finite number."),
        (number, "1", "found a string, expected a finite number."),
        (number, float("inf"), "found a number, expected a finite number."),
        (number, float("nan"), "found a number, expected a finite number."),
        (mapping, [], "found an array, expected an object."),
        (array, {}, "found an object, expected an array."),
        (strings, "a", "found a string, expected an array."),
        (objects, {}, "found an object, expected an array."),
        (needed_string, None, "found nothing, expected a string."),
        (needed_mapping, None, "found nothing, expected an object."),
        (needed_objects, None, "found nothing, expected an array."),
    ],
)
def test_a_wrong_type_is_told_with_its_place(look, value, message):
    assert fault(look, value) == ("x[0].f", message)


def test_an_integer_may_have_a_least_value():
    assert integer({"f": 1}, "f", least=1) == 1
    assert fault(integer, 0, least=1) == ("x[0].f", "found 0, expected at least 1.")


def test_entries_come_with_their_own_place():
    assert objects({"f": [{"a": 1}, {}]}, "f") == [("f[0]", {"a": 1}), ("f[1]", {})]
    assert needed_objects({"f": [{}]}, "f", "x") == [("x.f[0]", {})]
    assert fault(objects, [{}, "a"]) == ("x[0].f[1]", "found a string, expected an object.")
    assert fault(strings, ["a", None]) == ("x[0].f[1]", "found nothing, expected a string.")


def test_what_may_be_a_text_too_says_so():
    with pytest.raises(GatewayError, match="found an integer, expected a string or an array"):
        entries(1, "content", TEXT_OR_PARTS)


def test_a_word_is_one_of_some():
    assert word({"f": "red"}, "f", WORDS) == "red"
    assert word({"f": None}, "f", WORDS) is None
    assert needed_word({"f": "green"}, "f", WORDS) == "green"
    for look in (word, needed_word):
        assert fault(look, "blue", words=WORDS)[1] == "found 'blue', expected one of red, green."
        assert fault(look, 1, words=WORDS)[1] == "found an integer, expected one of red, green."
    assert fault(needed_word, None, words=WORDS)[1] == "found nothing, expected one of red, green."


def test_a_client_s_word_is_repeated_on_one_line_and_not_at_any_length():
    assert shown("a" * 40) == repr("a" * 40)
    assert shown("a" * 41) == repr("a" * 40 + "…")
    assert shown("a\nb") == r"'a\nb'"
    assert len(wrong_word("f", "b" * 9999, WORDS).message) < 100


def test_a_wrong_type_does_not_tell_the_value_and_a_wrong_value_does():
    assert wrong_type("f", "secret", "a boolean").message == (
        "`f`: found a string, expected a boolean."
    )
    assert wrong_value("f", "", "a name").message == "`f`: found '', expected a name."
    assert wrong_value("f", None, "a name").message == "`f`: found nothing, expected a name."


def test_the_body_itself_has_no_place():
    assert join("", "model") == "model"
    assert join("messages[0]", "role") == "messages[0].role"
