"""Credentials in what git says never reach the journal, whatever else stands in the line."""

from __future__ import annotations

import time

import pytest

from rustploy_agent.builder.steplog import masked

MANY = 200_000


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("fatal: https://anna:secret@git.example/x", "fatal: https://***@git.example/x"),
        ("https://a@b:c@d@git.example/x", "https://***@git.example/x"),
        ("a+very-long.scheme" * 3 + "://u:p@h", "a+very-long.scheme" * 3 + "://***@h"),
        ("https://git.example/a@b", "https://git.example/a@b"),
        ("two: http://u:p@h and ssh://git@h/x", "two: http://***@h and ssh://***@h/x"),
        ("anna@git.example:x.git", "anna@git.example:x.git"),
    ],
)
def test_what_stands_before_the_at_of_a_url_is_masked(said: str, shown: str) -> None:
    assert masked(said) == shown


@pytest.mark.parametrize("piece", ["a", "a:", "a://", "a://b", "a://b@", "://", "@", "a://b@c "])
def test_a_line_that_somebody_made_for_it_does_not_keep_a_fetch_busy(piece: str) -> None:
    """A repository's server chooses what git repeats of it."""
    began = time.process_time()
    masked(piece * MANY)
    assert time.process_time() - began < 5
