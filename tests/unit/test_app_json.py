"""app.json: an app is born with the variables that its repository asks for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent import app_json
from rustploy_agent.app_json import AppJson


def parse(**document: object) -> AppJson:
    return app_json.parse(json.dumps(document))


def test_variables_are_given_generated_or_asked_for() -> None:
    """A sample that generates its SECRET_KEY deploys unedited."""
    found = parse(
        env={
            "PLAIN": "text",
            "VALUE": {"description": "x", "value": "v"},
            "NUMBER": {"value": 8},
            "SECRET_KEY": {"generator": "secret"},
            "NEEDED": {"description": "of somebody's"},
            "EMPTY": {"value": "", "required": True},
            "OPTIONAL": {"required": False},
        }
    )
    assert found.values == {"PLAIN": "text", "VALUE": "v", "NUMBER": "8"}
    assert (found.generated, found.required, found.warnings) == (["SECRET_KEY"], ["NEEDED", "EMPTY"], [])


@pytest.mark.parametrize("key", ["A-B", "HOME", "RUSTPLOY_APP", "1A", "", "a b", "A=B"])
def test_a_variable_that_no_app_can_have_is_told_and_left_out(key: str) -> None:
    """A stranger's repository must not set what the platform sets."""
    found = parse(env={key: "x", "FINE": "y"})
    assert found.values == {"FINE": "y"}
    assert len(found.warnings) == 1


def test_what_is_not_done_is_said() -> None:
    """Who reads nothing believes that the database is there."""
    found = parse(addons=["heroku-postgresql"], scripts={"postdeploy": "x"}, cron=[{}], buildpacks=[], keywords=["a"])
    assert [warning.split(":")[1].strip() for warning in found.warnings] == ["addons", "cron", "scripts"]


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_nothing_but_warnings_comes_of_any_text(text: str) -> None:
    assert isinstance(app_json.parse(text), AppJson)


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.dictionaries(st.text(), st.text())))
def test_nothing_but_warnings_comes_of_any_variables(variables: dict[str, object]) -> None:
    assert isinstance(parse(env=variables), AppJson)
