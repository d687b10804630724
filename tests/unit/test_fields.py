"""Typed getters: each wrong key becomes one detail by its dotted path, so that a caller mends all at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent.fields import Fields, boolean, integer, one_of, text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def problems(fields: Fields) -> dict[str, str]:
    return {detail.field: detail.message for detail in fields.finish()}


def test_values_arrive_parsed() -> None:
    fields = Fields({"a": 1, "b": {"c": "x"}})
    child = fields.object("b")
    assert (fields.required("a", integer(0, 9), 0), child.maybe("c", text), child.optional("d", text, "y")) == (
        1,
        "x",
        "y",
    )
    assert fields.finish() == []


def test_all_problems_are_told_at_once_with_their_paths() -> None:
    fields = Fields({"a": "x", "b": {"c": 7, "typo": 1}, "extra": None})
    child = fields.object("b")
    fields.required("a", integer(0, 9), 0)
    fields.required("missing", text, "")
    child.maybe("c", text)
    assert problems(fields) == {
        "a": "must be an integer from 0 to 9",
        "missing": "is required",
        "b.c": "must be a string",
        "b.typo": "is not a known key; known are: c",
        "extra": "is not a known key; known are: a, b, missing",
    }


def test_who_writes_a_path_as_one_key_is_told_to_nest_it() -> None:
    """agent.yaml's keys are named by their paths everywhere, so some write them like that."""
    fields = Fields({"ingress.base_domain": "apps.example.org", "other.key": 1})
    fields.object("ingress")
    assert problems(fields) == {
        "ingress.base_domain": "is not a known key; write base_domain as a key below ingress; known are: ingress",
        "other.key": "is not a known key; known are: ingress",
    }


def test_null_is_absence() -> None:
    fields = Fields({"a": None, "b": None})
    assert fields.maybe("a", text) is None
    fields.object("b").maybe("c", text)
    assert ("a" in fields, fields.finish()) == (False, [])


@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_what_is_no_object_is_told(value: object) -> None:
    assert problems(Fields(value)) == {"": "must be an object"}


@given(json_values)
def test_any_value_can_be_asked_for_anything(value: object) -> None:
    fields = Fields({"a": value})
    child = fields.object("a")
    child.maybe("b", boolean)
    fields.maybe("a", one_of("x", "y"))
    for detail in fields.finish():
        (detail.field + detail.message).encode("utf-8")


@pytest.mark.parametrize("value", [True, 1.0, "1", None, -1, 10])
def test_an_integer_is_an_integer_in_its_range(value: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 9"):
        integer(0, 9)(value)


@pytest.mark.parametrize("value", ["", "a\nb", "\x7f", "\ud800", "x" * 1025, 7, b"x"])
def test_text_is_printable_and_not_endless(value: object) -> None:
    with pytest.raises(ValueError):
        text(value)
