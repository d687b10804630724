"""rustploy.yaml, Procfile and bin/release's YAML: a stranger's text ends as plain values or one clear refusal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent import manifest, names
from rustploy_agent.errors import InvalidManifest

WHOLE = """
version: 1
app:
  {name: blog, port: 3000, start_command: gunicorn app:app, healthcheck_path: /up, healthcheck_status: 204,
   filesystem: read-only,
   healthcheck_timeout_seconds: 90, healthcheck_interval_seconds: 2, healthcheck_host: www.example.org}
build: {mode: python, profile: production}
dependencies: {postgres: {enabled: true}, redis: {enabled: false}}
migrations: {enabled: true, command: python manage.py migrate}
deploy: {auto_deploy_branch: main}
"""
#: Scalars for which PyYAML's own constructors raise something that is no YAMLError.
MISFITS = ["!!bool x", "!!int ''", "!!float x", "!!timestamp x", "2001-99-99", "!!int '1:x'", "!!set [a]", "!!binary ü"]


def wrong(text: str) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        manifest.parse(text)
    return [detail.field for detail in caught.value.details]


def test_every_key_arrives() -> None:
    parsed = manifest.parse(WHOLE)
    assert parsed["app"] == {
        "name": "blog",
        "port": 3000,
        "healthcheck_path": "/up",
        "healthcheck_status": 204,
        "healthcheck_timeout_seconds": 90,
        "healthcheck_interval_seconds": 2,
        "healthcheck_host": "www.example.org",
        "filesystem": "read-only",
        "start_command": "gunicorn app:app",
    }
    assert parsed["migrations"] == {"enabled": True, "command": "python manage.py migrate"}
    assert parsed["dependencies"] == {"postgres": {"enabled": True}, "redis": {"enabled": False}}
    assert (parsed["build"]["mode"], parsed["deploy"]["auto_deploy_branch"]) == ("python", "main")


def test_only_the_version_is_required() -> None:
    assert manifest.parse("version: 1")["app"]["start_command"] is None


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", ["", "version"]),
        ("[1]", ["", "version"]),
        ("app: {}", ["version"]),
        ("version: 2", ["version"]),
        ("version: '1'", ["version"]),
        ("version: true", ["version"]),
        ("version: 1\nbuild: {mode: 7}\napp: {prot: 1, port: 0}", ["app.port", "app.prot", "build.mode"]),
        ("version: 1\ndependencies: {mysql: {enabled: true}}", ["dependencies.mysql"]),
        ("version: 1\nmigrations: {enabled: true}", ["migrations.command"]),
        ("version: 1\napp: text", ["app"]),
        ("version: 1\napp: {healthcheck_status: 100}", ["app.healthcheck_status"]),
        ("version: 1\napp: {healthcheck_status: 2xx}", ["app.healthcheck_status"]),
        ("version: 1\napp: {healthcheck_timeout_seconds: 3601}", ["app.healthcheck_timeout_seconds"]),
        ("version: 1\napp: {healthcheck_interval_seconds: 0.5}", ["app.healthcheck_interval_seconds"]),
        ("version: 1\n7: x", ["7"]),
    ],
)
def test_every_wrong_key_is_named_by_its_path(text: str, fields: list[str]) -> None:
    assert sorted(wrong(text)) == fields


@pytest.mark.parametrize("value", MISFITS)
def test_a_value_that_does_not_fit_its_tag_is_refused(value: str) -> None:
    with pytest.raises(InvalidManifest):
        manifest.parse(f"version: 1\napp:\n  name: {value}\n")


@pytest.mark.parametrize(
    "text",
    ["a: &x 1\nb: *x", "x: " + "[" * 60_000, "a" * 70_000, "version: 1\n\x01: 2", "a: !!python/object:x {}"],
    ids=["alias", "brackets", "large", "control", "object"],
)
def test_what_could_harm_the_reader_is_refused(text: str) -> None:
    with pytest.raises(InvalidManifest):
        manifest.parse(text)


def test_a_key_that_is_no_text_is_told_in_text_that_can_be_stored() -> None:
    """A deployment's reason goes to SQLite and the journal; a lone surrogate in it once left the deployment hanging."""
    with pytest.raises(InvalidManifest) as caught:
        manifest.parse('version: 1\n"\\ud800": 1\n')
    caught.value.message.encode("utf-8")
    caught.value.details[0].field.encode("utf-8")


def test_a_command_that_is_a_number_of_many_digits_is_refused() -> None:
    """Python does not write such a number out; the message about it once ended the deployment as an internal error."""
    with pytest.raises(InvalidManifest, match="must be a string"):
        manifest.processes(f"default_process_types: {{web: 0x{'f' * 6000}}}", None, None)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(MISFITS))
trees = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["version", "app"]), inner)
)


@given(
    st.one_of(st.text(), trees.map(lambda tree: json.dumps(tree)), st.binary().map(lambda raw: raw.decode("latin-1")))
)
def test_nothing_but_a_refusal_comes_out_of_any_text(text: str) -> None:
    try:
        manifest.parse(text)
    except InvalidManifest as error:
        error.message.encode("utf-8")


@given(st.text(), st.none() | st.text())
def test_nothing_but_a_refusal_comes_out_of_any_procfile(release: str, procfile: str | None) -> None:
    try:
        manifest.processes(release, procfile, None)
    except InvalidManifest as error:
        error.message.encode("utf-8")


def test_the_manifest_beats_the_procfile_and_the_procfile_the_buildpack() -> None:
    release = "default_process_types:\n  web: default\n  worker: default\n"
    procfile = "# comment\n\nweb: procfile\nclock:   procfile --now : x\n"
    assert manifest.processes(release, procfile, None) == {
        "web": "procfile",
        "worker": "default",
        "clock": "procfile --now : x",
    }
    assert manifest.processes(release, procfile, "mine")["web"] == "mine"


@pytest.mark.parametrize(
    "procfile", ["web gunicorn", "my web: x", "web:", ": x", "web: \x07", "w" * 64 + ": x", "ok: again", "O-K: x"]
)
def test_a_wrong_procfile_line_is_named_by_number(procfile: str) -> None:
    with pytest.raises(InvalidManifest, match="Procfile:2"):
        manifest.processes("", "ok: true\n" + procfile, None)


def test_more_processes_than_apply_takes_are_refused_before_they_are_wished_for() -> None:
    """They would stay in the database, and apply would refuse the app for good."""
    procfile = "\n".join(f"p{number}: x" for number in range(17))
    with pytest.raises(InvalidManifest, match="at most 16"):
        manifest.processes("", procfile, None)


@pytest.mark.parametrize(
    "release",
    ["default_process_types: [1]", "default_process_types: text", "default_process_types: {web: 1}", "- 1: ["],
)
def test_release_output_of_the_wrong_shape_is_refused(release: str) -> None:
    with pytest.raises(InvalidManifest, match=r"bin/release|rustploy"):
        manifest.processes(release, None, None)


@pytest.mark.parametrize("release", ["", "null", "default_process_types:", "addons: []", "- 1"])
def test_release_output_without_processes_says_nothing(release: str) -> None:
    assert manifest.processes(release, None, None) == {}


def test_process_types_may_be_written_as_other_platforms_have_them() -> None:
    """Procfiles of others name celery-beat and Worker; units have plain names."""
    found = manifest.processes("", "web: w\ncelery-beat: b\nWorker_2: c\n2nd: d\n" + "x" * 40 + ": e\n", None)
    assert list(found.values()) == ["w", "b", "c", "d", "e"]
    assert list(found)[:3] == ["web", "celerybeat", "worker2"]
    assert all(names.PROCESS_TYPE.fullmatch(name) for name in found)


def test_a_process_type_that_stands_twice_is_refused() -> None:
    """Nobody knows which of two web lines is meant."""
    with pytest.raises(InvalidManifest, match=r"Procfile:2: 'web' is there twice"):
        manifest.processes("", "web: a\nweb: b\n", None)
    with pytest.raises(InvalidManifest, match=r"'celerybeat' is the same process as 'celery-beat'"):
        manifest.processes("", "celery-beat: a\ncelerybeat: b\n", None)
