"""The static buildpack: which directory is served, and that no dot file is."""

import json
from pathlib import Path

import pytest

from tests.unit.programs import SAMPLES, Workshop

pytestmark = pytest.mark.processes


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def site(workshop: Workshop) -> dict[str, object]:
    found: dict[str, object] = json.loads((workshop.checkout / ".rustploy" / "site.json").read_text())
    return found


def test_the_sample_becomes_a_site_that_caddy_serves(workshop: Workshop) -> None:
    result = workshop.build(SAMPLES / "static", "static")
    assert result["ok"], result
    assert "caddy run --config .rustploy/site.json" in result["release"]


@pytest.mark.parametrize("directory", [".", "public", "dist", "_site", "www"])
def test_the_directory_with_the_index_is_served(workshop: Workshop, directory: str) -> None:
    assert workshop.build({f"{directory}/index.html": "x"}, "static")["ok"]
    wanted = workshop.checkout if directory == "." else workshop.checkout / directory
    assert f'"root": "{wanted}"' in json.dumps(site(workshop))


def test_the_admin_api_is_off_and_only_loopback_is_listened_on(workshop: Workshop) -> None:
    """Any app of the host could take over a Caddy with an admin API."""
    workshop.build({"index.html": "x", "404.html": "x", ".well-known/x": "x"}, "static")
    document = site(workshop)
    assert document["admin"] == {"disabled": True, "config": {"persist": False}}
    assert '"listen": ["127.0.0.1:{env.PORT}"]' in json.dumps(document)


@pytest.mark.parametrize("extra", [[], ["404.html"], ["200.html"], ["404.html", "200.html"], [".well-known/x"]])
def test_every_mix_of_special_pages_is_a_valid_configuration(workshop: Workshop, extra: list[str]) -> None:
    assert workshop.build({"index.html": "x"} | dict.fromkeys(extra, "x"), "static")["ok"]
    document = json.dumps(site(workshop))
    assert document.count('"hide": [".*"') == document.count('"file_server"') - (".well-known/x" in extra)


def test_a_committed_server_configuration_is_replaced(workshop: Workshop) -> None:
    workshop.build({"index.html": "x", ".rustploy/site.json": "theirs", ".rustploy/release.yaml": "theirs"}, "static")
    assert "theirs" not in (workshop.checkout / ".rustploy" / "site.json").read_text()


def test_without_an_index_the_message_says_where_it_was_looked_for(workshop: Workshop) -> None:
    result = workshop.build({"README.md": "x"}, "static")
    assert result["code"] == "build_failed"
    assert "no index.html" in result["message"]
    assert "public/" in result["message"]
