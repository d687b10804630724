"""What may be in a commit that is checked out."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustploy_agent.builder import tree
from rustploy_agent.builder.job import Refused

BLOB = b"0" * 40
PARTS = st.sampled_from([b"..", b".", b"a", b"b", b"l0", b"l1", b"l2", b""])


def entry(path: bytes, *, mode: bytes = b"100644", kind: bytes = b"blob", size: bytes = b"7") -> bytes:
    return mode + b" " + kind + b" " + BLOB + b" " + size.rjust(7) + b"\t" + path


def refusal(lines: list[bytes], max_bytes: int = 1000) -> str:
    with pytest.raises(Refused) as refused:
        tree.survey(lines, max_bytes)
    return refused.value.code


def test_an_ordinary_tree_is_counted() -> None:
    lines = [entry(b"a"), entry(b"d/b", mode=b"100755"), entry(b"l", mode=b"120000", size=b"1"), entry("ü\n".encode())]
    found = tree.survey(lines, 1000)
    assert (found.files, found.bytes) == (4, 22)
    assert [link.path for link in found.symlinks] == [b"l"]


@given(
    st.lists(st.binary(min_size=1, max_size=9).filter(lambda part: b"\0" not in part), max_size=6), st.integers(1, 7)
)
def test_entries_are_found_however_the_pipe_cuts_them(parts: list[bytes], size: int) -> None:
    stream = b"".join(part + b"\0" for part in parts)
    assert list(tree.entries(stream[at : at + size] for at in range(0, len(stream), size))) == parts


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (entry(b"lib", mode=b"160000", kind=b"commit", size=b"-"), "unsupported_submodule"),
        (entry(b"x/.git/config"), "unsafe_path"),
        (entry(b".GIT"), "unsafe_path"),
        (entry(b"a/../b"), "unsafe_path"),
        (entry(b"/etc/passwd"), "unsafe_path"),
        (entry(b"a" * 256), "unsafe_path"),
        (entry(b"/".join([b"a" * 200] * 20)), "unsafe_path"),
        (entry(b"big", size=b"1001"), "repository_too_large"),
        (entry(b"l", mode=b"120000", size=b"5000"), "unsafe_symlink"),
    ],
)
def test_what_a_checkout_must_not_contain_is_refused(line: bytes, code: str) -> None:
    assert refusal([line], 10_000 if code == "unsafe_symlink" else 1000) == code


def test_a_tree_bomb_is_refused_without_being_read_to_its_end() -> None:
    def endless() -> object:
        while True:
            yield entry(b"a", size=b"0")

    assert refusal(endless()) == "repository_too_large"  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [b"b", b"./b", b"../c", b"d/e/f", b"../x/y"])
def test_links_inside_the_repository_are_kept(target: bytes) -> None:
    tree.check_target(b"d/link", target)


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../x", b"..//../x", b"a/../../../x", b"a/../b", b"", b"../.."])
def test_links_that_lead_out_are_refused(target: bytes) -> None:
    with pytest.raises(Refused) as refused:
        tree.check_target(b"d/link", target)
    assert refused.value.code == "unsafe_symlink"


def where_it_leads(path: bytes) -> bytes | None:
    """By the kernel's own resolution; None for a loop or a missing target."""
    try:
        found = os.open(path, os.O_PATH)
    except OSError:
        return None
    try:
        return os.fsencode(Path(f"/proc/self/fd/{found}").readlink())
    finally:
        os.close(found)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from([b"l0", b"a/l1", b"a/b/l2"]), st.lists(PARTS, max_size=6), min_size=1))
def test_no_set_of_accepted_links_leaves_the_tree_on_a_real_disk(links: dict[bytes, list[bytes]]) -> None:
    """A chain of links, each harmless by itself, must not let a build read the host's files as the app's."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory).resolve() / "outer" / "top"
        (top / "a" / "b").mkdir(parents=True)
        for path, parts in links.items():
            target = b"/".join(parts)
            try:
                tree.check_target(path, target)
            except Refused:
                continue
            os.symlink(target, os.fsencode(top) + b"/" + path)
        for path in links:
            real = where_it_leads(os.fsencode(top) + b"/" + path)
            assert real is None or (real + b"/").startswith(os.fsencode(top) + b"/")
