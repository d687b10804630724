"""Value parsers: what they let through becomes names of users and units, arguments of git, lines that a shell reads."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent import names, runtime_fields
from rustploy_agent.apply import wish
from rustploy_agent.builder import job

PARSERS = [
    names.app_name,
    names.process_type,
    names.commit_sha,
    names.git_ref,
    names.env_key,
    names.env_value,
    runtime_fields.health_path,
    names.command,
    names.build_mode,
    names.clone_url,
    names.repository_part,
    names.token_name,
    names.email,
    names.scopes,
]
anything = st.one_of(
    st.text(),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.text()),
)


@pytest.mark.parametrize("parse", PARSERS)
@given(value=anything)
def test_a_parser_returns_a_value_that_it_takes_again_or_says_what_is_right(
    parse: Callable[[object], object], value: object
) -> None:
    try:
        found = parse(value)
    except ValueError as error:
        assert str(error)
    else:
        assert parse(found) == found


@pytest.mark.parametrize("name", ["a", "blog", "my-app-2", "a" * 27])
def test_good_app_names(name: str) -> None:
    assert names.app_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "-a", "a-", "a--b", "a_b", "a.b", "a/b", "..", "a b", "a\n", "a%i", "é", "a" * 28, "\u0430"]
)
def test_bad_app_names(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        names.app_name(name)


@given(st.from_regex(r"[a-z0-9-]{1,30}", fullmatch=True))
def test_agent_apply_and_programs_agree_on_app_names(name: str) -> None:
    """Else the agent makes an app that apply refuses for ever, or that no program fetches."""

    def takes(parse: Callable[[str], object]) -> bool:
        try:
            parse(name)
        except (ValueError, wish.Refused):
            return False
        return True

    by_programs = bool(job.APP_NAME.fullmatch(name)) and "--" not in name
    assert takes(names.app_name) == takes(lambda value: wish.NAME(value, "name")) == by_programs


@given(st.from_regex(r"\A[a-z0-9]{1,20}\Z"))
def test_agent_and_apply_agree_on_process_types(name: str) -> None:
    assert bool(names.PROCESS_TYPE.fullmatch(name)) == bool(re.fullmatch(r"[a-z][a-z0-9]{0,15}", name))


@pytest.mark.parametrize("ref", ["main", "v1.2.0", "feature/x-1", "a" * 40, "ünï", "refs/heads/main", "x@y"])
def test_good_refs(ref: str) -> None:
    assert names.git_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-x",
        "--upload-pack=x",
        "/a",
        "a/",
        "a//b",
        "a..b",
        "a.lock",
        ".a",
        "a/.b",
        "a.",
        "@",
        "a@{1}",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a\x00",
        "a\n",
        "x" * 256,
    ],
)
def test_bad_refs(ref: str) -> None:
    with pytest.raises(ValueError):
        names.git_ref(ref)


@pytest.mark.parametrize(
    "url",
    [
        "https://host/a/b.git",
        "https://user:token@host:8443/a/b.git",
        "ssh://git@host:22/a/b",
        "git@host:a/b.git",
        "file:///srv/git/a",
        "http://[::1]/a",
    ],
)
def test_good_clone_urls(url: str) -> None:
    assert names.clone_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/git",
        "a/b",
        "host:a",
        "ext::sh -c id",
        "--upload-pack=id",
        "-u@h:x",
        "https:///a",
        "https://h/a b",
        "git@host: x",
        "git@host::x",
        "https://h/\x00",
        "https://[/",
    ],
)
def test_bad_clone_urls(url: str) -> None:
    with pytest.raises(ValueError):
        names.clone_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a", "https://h/a"),
        ("https://u:p@h/a", "https://***@h/a"),
        ("https://ghp_token@h/a", "https://***@h/a"),
        ("https://token:x-oauth-basic@h:1/a?b", "https://***@h:1/a?b"),
        ("https://u:p@ss@h/a", "https://***@h/a"),
        ("ssh://git@h/a", "ssh://git@h/a"),
        ("ssh://git:p@h/a", "ssh://***@h/a"),
        ("git@h:a/b", "git@h:a/b"),
    ],
)
def test_credentials_in_a_url_are_starred_out(url: str, shown: str) -> None:
    assert names.masked_url(url) == shown


@pytest.mark.parametrize("path", ["healthz", "/a b", "/ü", "/a\r\nHost: x", "", "/" + "x" * 1024])
def test_bad_health_paths(path: str) -> None:
    with pytest.raises(ValueError):
        runtime_fields.health_path(path)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("www.example.org", "www.example.org"),
        ("WWW.Example.ORG", "www.example.org"),
        ("*.example.org", "*.example.org"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
    ],
)
def test_a_domain_is_stored_as_dns_carries_it(given: str, stored: str) -> None:
    assert names.domain(given) == stored
    assert names.domain(stored) == stored


@pytest.mark.parametrize(
    "given",
    [
        *("localhost", "a.localhost", "printer.local", "org", "", "*", "*.", "*.org", "*.*.example.org", "a.*.b.org"),
        *("127.0.0.1", "1.2.3", "::1", "[::1]", "0x7f.0.0.1", "a.0x7f", "\uff11\uff12.0.0.1"),
        *("example.org.", ".example.org"),
        *("http://example.org", "example.org/x", "example.org:80", "a b.org", "a_b.org", "-a.org", "a-.org", "a..org"),
        *("a\n.org", "a\0.org", "a" * 64 + ".org", ".".join(["a" * 60] * 5), "xn--a.org", "xn--.org", "\u200d.org"),
        *("a%2e.org", "a{http.request.host}.org", "a,b.org", "a@b.org", "ü" * 64 + ".org", 1, None),
    ],
)
def test_what_is_no_public_domain_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        names.domain(given)
