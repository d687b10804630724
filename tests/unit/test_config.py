"""Settings: a wrong or unknown key stops the start by its name; what is documented is what is parsed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent import config

TREE = Path(__file__).parents[2]
PACKAGED = TREE / "packaging" / "agent.yaml"
REFERENCE = TREE / "docs" / "configuration.md"
#: A line of the reference's tables: `key` | default | ...
ROW = re.compile(r"^\| `([a-z_.]+)` \| `([^`]+)` \|", re.MULTILINE)


def flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def shown() -> dict[str, Any]:
    """The keys and values that the packaged file shows in comments."""
    text = "".join(
        line[1:] for line in PACKAGED.read_text().splitlines(keepends=True) if re.match(r"#( *[a-z_]+:)", line)
    )
    return flat(yaml.safe_load(text))


def documented() -> dict[str, Any]:
    return {key: yaml.safe_load(value) for key, value in ROW.findall(REFERENCE.read_text(encoding="utf-8"))}


def known() -> set[str]:
    """Every key that the parser asks for: it names them when it meets one it does not know."""
    asked: set[str] = set()

    def look(path: tuple[str, ...]) -> None:
        tree: dict[str, Any] = {"?": 1}
        for key in reversed(path):
            tree = {key: tree}
        with pytest.raises(config.ConfigError) as caught:
            config.parse(tree)
        for key in caught.value.message.partition("known are: ")[2].split(", "):
            whole = (*path, key)
            try:
                config.parse(nested(whole, {"?": 1}))
            except config.ConfigError as error:
                if "known are" in error.message:
                    look(whole)
                else:
                    asked.add(".".join(whole))

    look(())
    return asked


def nested(path: tuple[str, ...], value: object) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def test_no_file_content_means_all_defaults() -> None:
    assert config.parse(None) == config.parse({}) == config.parse({"listen": None})


def test_the_packaged_file_says_nothing_but_comments() -> None:
    assert yaml.safe_load(PACKAGED.read_text()) is None


def test_the_packaged_file_shows_every_key_with_its_default() -> None:
    assert set(shown()) == known()
    whole: Any = {}
    for key, value in shown().items():
        branch = whole
        *path, last = key.split(".")
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = value
    assert config.parse(whole) == config.parse(None)


def test_the_reference_has_every_key_with_its_default_and_no_other() -> None:
    assert documented() == shown()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"lisen": {}}, "lisen is not a known key"),
        ({"listen": {"prot": 1}}, "listen.prot is not a known key"),
        ({"listen": {"port": 0}}, "listen.port must be an integer from 1 to 65535"),
        ({"listen": {"port": "8080"}}, "listen.port"),
        ({"listen": {"address": "localhost"}}, "listen.address must be an IP address"),
        ({"listen": 8080}, "listen must be an object"),
        ({"deployments": {"timeouts": {"build_seconds": True}}}, "deployments.timeouts.build_seconds"),
        ({"source": {"schemes": ["https", "ftp"]}}, "source.schemes must be a non-empty list"),
        ({"source": {"schemes": ["file"]}}, "source.file_root must name a directory"),
        ({"source": {"file_root": "srv"}}, "source.file_root must be an absolute path"),
        ({"source": {"file_root": "/srv/../etc"}}, "source.file_root must be an absolute path"),
        ({"apps": {"ports": {"first": 3000, "last": 2000}}}, "apps.ports.last must be greater"),
        ({"apps": {"ports": {"first": 80}}}, "apps.ports.first"),
        ({"apps": {"deny_addresses": ["169.254.0.0/99"]}}, "apps.deny_addresses must be a list"),
        ({"apps": {"deny_addresses": "169.254.0.0/16"}}, "apps.deny_addresses must be a list"),
        ({"apps": {"total": {"memory_percent": 0}}}, "apps.total.memory_percent must be an integer from 1 to 100"),
        ({"builds": {"total": {"tasks_percent": 101}}}, "builds.total.tasks_percent"),
        ({"listen": {"apps": "no"}}, "listen.apps"),
        ({"admin": {"email": "admin"}}, "admin.email must be an e-mail address"),
        ([], "must be an object"),
        ("text", "must be an object"),
    ],
)
def test_a_wrong_key_is_named(document: object, says: str) -> None:
    with pytest.raises(config.ConfigError, match=re.escape(says)):
        config.parse(document)


def test_all_wrong_keys_are_named_at_once() -> None:
    with pytest.raises(config.ConfigError, match=r"listen\.port .*; disk\.min_free_mib "):
        config.parse({"listen": {"port": 0}, "disk": {"min_free_mib": -1}})


@pytest.mark.parametrize(
    "text", ["a: [", "\t", "a: &x [*x]", "!!bool x", "2001-99-99", "[" * 3000, "a: !!python/object:os.x {}"]
)
def test_a_file_that_is_no_settings_is_told_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(config.ConfigError, match=r"agent\.yaml"):
        config.load(path)


def test_a_file_that_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "dir.yaml").mkdir()
    for name in ("absent.yaml", "bytes.yaml", "dir.yaml"):
        with pytest.raises(config.ConfigError, match=name):
            config.load(tmp_path / name)


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner)
    | st.dictionaries(st.sampled_from(["listen", "port", "source", "schemes", "x"]), inner),
)


@given(trees)
def test_any_document_is_settings_or_one_refusal(document: object) -> None:
    try:
        config.parse(document)
    except config.ConfigError as error:
        assert error.message


def test_ceilings_are_never_below_what_each_process_gets_by_itself() -> None:
    """Else every app of a host whose settings give more than a ceiling is refused by apply after an upgrade."""
    found = config.parse({"apps": {"limits": {"memory_max_mib": 8192}}})
    assert (found.ceilings.memory_max_bytes, found.ceilings.tasks_max) == (8192 << 20, 4096)
    with pytest.raises(config.ConfigError, match=r"limits\.max_tasks must be at least apps\.limits\.tasks_max"):
        config.parse({"apps": {"limits": {"tasks_max": 500, "max_tasks": 499}}})
