"""Clone URLs: what a user may write, and that nothing else reaches git."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rustploy_agent.builder.job import Refused
from rustploy_agent.builder.remote import NETWORK_SCHEMES, parse
from rustploy_agent.builder.steplog import masked

BOTH = ("https", "ssh")


@pytest.mark.parametrize(
    ("url", "scheme", "passed_on"),
    [
        ("https://host.example/owner/name.git", "https", "https://host.example/owner/name.git"),
        ("HTTPS://host.example:8443/x", "https", "https://host.example:8443/x"),
        ("https://[::1]:8443/x", "https", "https://[::1]:8443/x"),
        ("git@host.example:owner/name.git", "ssh", "git@host.example:owner/name.git"),
        ("ssh://git@host.example:2222/x", "ssh", "ssh://git@host.example:2222/x"),
    ],
)
def test_the_usual_ways_to_write_a_url_are_understood(url: str, scheme: str, passed_on: str) -> None:
    remote = parse(url, BOTH, None)
    assert (remote.scheme, remote.url, remote.credentials) == (scheme, passed_on, None)


@pytest.mark.parametrize("userinfo", ["user:secret", "secret", "x:%40secret", "secret:x-oauth-basic"])
def test_a_token_in_the_url_is_taken_out_before_git_sees_it(userinfo: str) -> None:
    """Otherwise it would stand on git-remote-https's command line."""
    remote = parse(f"https://{userinfo}@host.example/x", BOTH, None)
    assert remote.url == "https://host.example/x"
    assert remote.credentials == userinfo
    assert remote.credential_line.startswith("https://secret:" if userinfo == "secret" else f"https://{userinfo}")
    assert remote.credential_line.endswith("@host.example\n")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("/srv/git/x", "invalid_url"),
        ("../x", "invalid_url"),
        ("x", "invalid_url"),
        ("", "invalid_url"),
        ("ext::sh -c id", "invalid_url"),
        ("ext::sh", "invalid_url"),
        ("fd::3", "invalid_url"),
        ("https::https://host/x", "invalid_url"),
        ("ext://sh", "scheme_not_allowed"),
        ("http://host.example/x", "scheme_not_allowed"),
        ("git://host.example/x", "scheme_not_allowed"),
        ("file:///etc", "scheme_not_allowed"),
        ("--upload-pack=id", "invalid_url"),
        ("-oProxyCommand=id@host:x", "invalid_url"),
        ("ssh://-oProxyCommand=id/x", "invalid_url"),
        ("ssh://%2doProxyCommand=id/x", "invalid_url"),
        ("git@-oProxyCommand=id:x", "invalid_url"),
        ("git@host:-x", "invalid_url"),
        ("ssh://git:password@host/x", "invalid_url"),
        ("https://host.example", "invalid_url"),
        ("https:///x", "invalid_url"),
        ("https://host.example/x\nhttps://other/y", "invalid_url"),
        ("https://a\x00b/x", "invalid_url"),
        ("https://host.example/" + "x" * 3000, "invalid_url"),
    ],
)
def test_everything_else_is_refused_with_a_stable_code(url: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(url, BOTH, None)
    assert refused.value.code == code
    assert not refused.value.retryable


@given(st.text(max_size=80) | st.from_regex(r"[a-z]{2,5}:{1,2}/{0,3}[-@%:./a-z0-9 ]{0,40}", fullmatch=True))
@example("https://user:pa@ss@host/x")
def test_whatever_is_written_only_an_allowed_scheme_with_a_plain_host_passes(url: str) -> None:
    try:
        remote = parse(url, BOTH, None)
    except Refused as refused:
        assert refused.code in {"invalid_url", "scheme_not_allowed"}
        return
    assert remote.scheme in BOTH
    assert not remote.url.startswith("-")
    assert remote.host[0].isalnum() or remote.host[0] == "["
    if remote.scheme == "https":
        assert "@" not in remote.url.split("/")[2]


def test_file_urls_stay_below_the_allowed_directory_whatever_links_and_escapes_say(tmp_path: Path) -> None:
    """A local repository source must not become a way to read the rest of the disk."""
    root, outside = tmp_path / "git", tmp_path / "outside"
    for directory in (root / "a b", outside):
        directory.mkdir(parents=True)
    (root / "link").symlink_to(outside)
    assert parse(f"file://{root}/a b".replace(" ", "%20"), ("file",), str(root)).url == f"file://{root}/a%20b"
    for path in ("link", "..", "../outside", "%2e%2e/outside", "a%20b/../../outside", ""):
        with pytest.raises(Refused) as refused:
            parse(f"file://{root}/{path}", ("file",), str(root))
        assert refused.value.code == "scheme_not_allowed", path
    with pytest.raises(Refused, match="no repository"):
        parse(f"file://{root}/missing", ("file",), str(root))
    with pytest.raises(Refused, match="no directory is set"):
        parse(f"file://{root}/x", ("file",), None)
    with pytest.raises(Refused):
        parse(f"file://host{root}/x", ("file",), str(root))


def test_a_scheme_that_no_code_knows_is_refused_even_if_the_settings_allow_it() -> None:
    with pytest.raises(Refused, match="source URL"):
        parse("ext://sh", ("ext",), None)
    assert "ext" not in NETWORK_SCHEMES


@given(
    st.from_regex(r"[a-z0-9]{12,20}", fullmatch=True),
    st.sampled_from(["fatal: unable to access '{}': no", "{}", "a {} b {}", "x={},"]),
)
def test_a_password_in_a_url_never_shows_in_a_message(secret: str, text: str) -> None:
    for url in (f"https://user:{secret}@host/x", f"https://{secret}@host/x", f"https://a:b@{secret}@host/x"):
        assert secret not in masked(text.replace("{}", url))
    assert masked("see https://host/x@y") == "see https://host/x@y"
    assert masked("git@host:x stays") == "git@host:x stays"
