"""What git says, turned into a code that a client can act on and a sentence that a person can."""

import pytest

from rustploy_agent.builder.fetchfailure import GitFailed

SAID = [
    ("fatal: unable to access 'https://h/x/': Could not resolve host: h", "host_unreachable", True),
    ("fatal: unable to access 'https://h/x/': Failed to connect to h port 443 after 2 ms", "host_unreachable", True),
    (
        "ssh: connect to host h port 22: Connection refused\n"
        "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\n"
        "and the repository exists.",
        "host_unreachable",
        True,
    ),
    ("fatal: unable to access 'https://h/x/': The requested URL returned error: 503", "host_unreachable", True),
    ("error: RPC failed; curl 28 Operation too slow.\nfatal: early EOF", "host_unreachable", True),
    (
        "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
        "authentication_failed",
        False,
    ),
    ("fatal: could not read Username for 'https://h': terminal prompts disabled", "authentication_failed", False),
    ("fatal: unable to access 'https://h/x/': The requested URL returned error: 403", "authentication_failed", False),
    (
        "fatal: unable to access 'https://h/x/': server certificate verification failed. CAfile: none",
        "authentication_failed",
        False,
    ),
    ("remote: Repository not found.\nfatal: repository 'https://h/x/' not found", "repository_not_found", False),
    (
        "fatal: '/srv/x' does not appear to be a git repository\nfatal: Could not read from remote repository.",
        "repository_not_found",
        False,
    ),
    ("fatal: write error: No space left on device\nfatal: index-pack failed", "disk_full", False),
    (
        "error: index-pack died of signal 25\nfatal: fetch-pack: invalid index-pack output",
        "repository_too_large",
        False,
    ),
]


@pytest.mark.parametrize(("said", "code", "retryable"), SAID)
def test_a_failure_has_the_code_that_decides_whether_to_try_again(said: str, code: str, retryable: bool) -> None:
    cause = GitFailed("fetch", 128, said).known_cause()
    assert cause is not None
    assert (cause.code, cause.retryable) == (code, retryable)


def test_what_nobody_foresaw_is_not_given_a_made_up_cause() -> None:
    assert GitFailed("fetch", 128, "fatal: something new").known_cause() is None


def test_the_sentence_quotes_the_error_and_not_the_advice_after_it() -> None:
    said = "warning: x\nCloning\nfatal: the reason\nfatal: Could not read from remote repository.\n\nPlease make sure"
    assert GitFailed("fetch", 128, said).sentence() == "fatal: the reason"
    assert GitFailed("fetch", -9, "").sentence() == "git fetch ended with -9"


def test_a_token_that_git_repeats_is_masked() -> None:
    failed = GitFailed("fetch", 128, "fatal: unable to access 'https://user:hunter2@h/x/': Failed to connect to h")
    cause = failed.known_cause()
    assert cause is not None
    assert "hunter2" not in cause.message + failed.said
