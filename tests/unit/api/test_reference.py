"""GET /openapi.yaml, /openapi.json, /docs: else generators and readers get another API than the one that is served."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from flask import Flask

from tests.unit import contract
from tests.unit.api.conftest import Client

FILES = ["/openapi.yaml", "/openapi.json", "/docs"]


@pytest.fixture
def stranger(api: Flask) -> Client:
    return Client(api, "")


@pytest.fixture
def page(stranger: Client) -> str:
    return str(stranger("GET", "/docs", headers={}).get_data(as_text=True))


def test_both_forms_are_the_document(stranger: Client) -> None:
    text = stranger("GET", "/openapi.yaml", headers={}).get_data(as_text=True)
    assert yaml.safe_load(text) == contract.document()
    assert stranger("GET", "/openapi.json", headers={}).get_json() == contract.document()


@pytest.mark.parametrize("path", FILES)
def test_what_a_client_has_already_is_not_sent_again(stranger: Client, path: str) -> None:
    first = stranger("GET", path, headers={})
    again = stranger("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert stranger("GET", path, headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize("path", FILES)
def test_a_browser_takes_it_for_nothing_else(stranger: Client, path: str) -> None:
    headers = stranger("GET", path, headers={}).headers
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-cache")


class Reader(html.parser.HTMLParser):
    """Collects ids, links and whatever would be loaded; minds that every tag is closed."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in about:
            self.ids.append(str(about["id"]))
        if tag == "a":
            self.links.append(str(about["href"]))
        if tag in ("script", "link", "img", "iframe", "object", "form") or "src" in about or "style" in about:
            self.loaded.append(tag)
        assert not any(name.startswith("on") for name in about)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_page_needs_nothing_from_anywhere(page: str, stranger: Client) -> None:
    """A server without Internet has readers too, and a page that loads something can be made to load something else."""
    assert read(page).loaded == []
    assert "@import" not in page and "url(" not in page
    policy = stranger("GET", "/docs", headers={}).headers["Content-Security-Policy"]
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert len(style) == 1 and f"style-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';") and "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_the_page_tells_all_of_the_document(page: str) -> None:
    reader = read(page)
    text = " ".join("".join(reader.text).split())
    assert len(reader.ids) == len(set(reader.ids))
    for (method, path), operation in contract.operations().items():
        assert operation["operationId"] in reader.ids, f"{method} {path}"
        for said in (operation["summary"], *itertools.chain(*operation["x-error-codes"].values())):
            assert said.replace("`", "") in text, f"{method} {path}: {said}"
    for name, schema in contract.document()["components"]["schemas"].items():
        assert f"schema-{name}" in reader.ids
        for field in schema.get("properties", {}):
            assert field in text, f"{name}.{field}"


def test_links_of_the_page_lead_somewhere(page: str) -> None:
    reader = read(page)
    assert {link for link in reader.links if not link.startswith("#")} == {"openapi.yaml", "openapi.json"}
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)


@pytest.mark.processes
def test_a_hostile_document_stays_text(tmp_path: Path, share: Path) -> None:
    """Else whoever gets a sentence into the document gets a script onto an admin's screen."""
    import subprocess
    import sys

    from tests.unit.conftest import TREE

    document = json.loads((share / "openapi.json").read_text(encoding="utf-8"))
    evil = "<script>alert(1)</script>`\"'><img src=x onerror=y>`"
    for operation in document["paths"]["/apps"].values():
        operation |= {"summary": evil, "description": f"- {evil}\n\n{evil}", "x-error-codes": {evil: [evil]}}
    fields = document["components"]["schemas"]["App"]["properties"]
    fields[evil] = {"description": evil, "pattern": evil, "enum": [evil]}
    document["info"]["description"] = evil
    (tmp_path / "openapi.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    argv = [sys.executable, "-B", TREE / "packaging" / "reference", tmp_path / "openapi.yaml", tmp_path]
    subprocess.run(argv, check=True, timeout=60)
    assert read((tmp_path / "reference.html").read_text(encoding="utf-8")).loaded == []
