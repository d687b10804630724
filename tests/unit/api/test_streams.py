"""GET /apps/{app}/logs/stream: its events one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import systemd.journal
from flask import Flask

from rustploy_agent import auth, streams
from rustploy_agent.core import Core
from rustploy_agent.journal import Log, Selection, Watch
from rustploy_agent.loglines import CUT
from rustploy_agent.models import App, Deployment, Slot, Token
from rustploy_agent.shares import Holder, Places
from tests.unit import contract
from tests.unit.api.conftest import Client
from tests.unit.journald import Journal
from tests.unit.waiting import until

UNIT = "rustploy-app@blog-web-a.service"


@pytest.fixture(autouse=True)
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    played = Journal()
    monkeypatch.setattr(systemd.journal, "Reader", played.open)
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.05)
    return played


class Reading:
    """A client that takes one event after the other."""

    def __init__(self, api: Flask, token: str, app: str, query: str = "", **headers: str) -> None:
        headers["Authorization"] = f"Bearer {token}"
        self.path = f"/api/v1/apps/{app}/logs/stream{query}"
        self.gone = False
        self._client = api.test_client(use_cookies=False)
        environment = {"waitress.client_disconnected": lambda: self.gone}
        self.answer = self._client.get(self.path, headers=headers, environ_overrides=environment, buffered=False)
        self._chunks: Iterator[bytes] = iter(self.answer.response)  # type: ignore[assignment]
        self.id = ""
        if self.answer.status_code == 200:
            assert next(self._chunks) == b"retry: 3000\n\n"

    def next(self) -> dict[str, Any]:
        text = next(self._chunks).decode()
        if text.startswith(":"):
            text = next(self._chunks).decode()
        assert not text.startswith(":"), "nothing but heartbeats"
        first, second, third, *rest = text.split("\n")
        assert (first, rest) == ("event: logs", ["", ""])
        self.id = second.removeprefix("id: ")
        found: dict[str, Any] = json.loads(third.removeprefix("data: "))
        return found

    def ended(self) -> bool:
        return all(chunk.startswith(b":") for chunk in self._chunks)

    def close(self) -> None:
        self.answer.close()


Read = Callable[..., Reading]


@pytest.fixture
def read(api: Flask, token: Callable[..., str]) -> Iterator[Read]:
    made: list[Reading] = []
    secret = token("read")

    def make(app: str = "blog", query: str = "", *, secret: str = secret, **headers: str) -> Reading:
        made.append(Reading(api, secret, app, query, **headers))
        return made[-1]

    yield make
    for reading in made:
        reading.close()


@pytest.fixture
def serving(blog: str) -> Deployment:
    """The deployment that serves the blog from slot a."""
    app = App.get_by_id(blog)
    deployment: Deployment = Deployment.create(app=app, status="healthy")
    Slot.update(deployment_id=deployment.id).where(Slot.app == app, Slot.letter == "a").execute()
    App.update(active_slot="a").where(App.id == blog).execute()
    return deployment


def begin(app: str) -> Deployment:
    """One that waits for its next try: no worker has to end it."""
    found: Deployment = Deployment.create(app=App.get_by_id(app), status="retrying", created_at_unix_ms=2**50)
    return found


def test_first_the_newest_lines_then_each_as_it_comes(read: Read, serving: Deployment, journal: Journal) -> None:
    for number in range(9):
        journal.say(f"line {number}", UNIT, serving.id)
    reading = read(query="?tail=3")
    assert reading.next() == {"deployment_id": serving.id, "logs": "line 6\nline 7\nline 8", "reset": True}
    journal.say("line 9", UNIT, serving.id)
    assert reading.next() == {"deployment_id": serving.id, "logs": "line 9", "reset": False}
    assert reading.answer.content_type == "text/event-stream"
    assert contract.operation_of("GET", reading.path)["responses"]["200"]["content"].keys() == {"text/event-stream"}  # type: ignore[index]


def test_lines_of_others_are_not_in_it(read: Read, serving: Deployment, journal: Journal) -> None:
    """Neither those of another app that claims to be this one, nor of another deployment in the same unit."""
    journal.say("mine", UNIT, serving.id)
    journal.say("forged", "rustploy-app@evil-web-a.service", serving.id, RUSTPLOY_APP="blog")
    journal.say("older", UNIT, "another")
    reading = read()
    assert reading.next()["logs"] == "mine"
    journal.say("forged", "rustploy-app@evil-web-a.service", serving.id, RUSTPLOY_APP="blog")
    journal.say("mine too", UNIT, serving.id)
    assert reading.next()["logs"] == "mine too"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"caf\xe9", "caf\ufffd"),
        (b"a\r\n\r\nevent: logs\ndata: {}", "a\n\nevent: logs\ndata: {}"),
        (b"\x1b[31mred\x1b[0m\x00\x07", "red"),
        ("a\u2028b\U0001f600".encode(), "a\u2028b\U0001f600"),
        (b"x" * 70_000, f"{'x' * 65_536} {CUT}"),
        (b"", ""),
    ],
)
def test_no_line_can_break_an_event(read: Read, serving: Deployment, journal: Journal, said: bytes, shown: str) -> None:
    reading = read()
    reading.next()
    journal.say(said, UNIT, serving.id)
    assert reading.next()["logs"] == shown


def test_many_lines_come_in_pieces(read: Read, serving: Deployment, journal: Journal) -> None:
    """Else a burst that a slow reader left behind is one event as large as the burst."""
    reading = read()
    reading.next()
    for number in range(2500):
        journal.say(str(number), UNIT, serving.id)
    found: list[str] = []
    while len(found) < 2500:
        piece = reading.next()["logs"].split("\n")
        assert len(piece) <= 1000
        found += piece
    assert found == [str(number) for number in range(2500)]


def test_an_app_that_was_never_deployed_has_an_empty_log(read: Read, blog: str, journal: Journal) -> None:
    reading = read()
    assert reading.next() == {"deployment_id": None, "logs": "", "reset": True}
    deployment = begin(blog)
    journal.say("deploy begins", "rustploy-agent.service", deployment.id, RUSTPLOY_APP="blog")
    assert reading.next() == {"deployment_id": deployment.id, "logs": "deploy begins", "reset": True}


def test_a_new_deployment_takes_over_even_without_a_line(read: Read, serving: Deployment, journal: Journal) -> None:
    journal.say("old", UNIT, serving.id)
    reading = read()
    reading.next()
    newer = begin(serving.app_id)
    assert reading.next() == {"deployment_id": newer.id, "logs": "", "reset": True}
    journal.say("its first", "rustploy-build@blog.service", newer.id)
    assert reading.next() == {"deployment_id": newer.id, "logs": "its first", "reset": False}


def test_after_a_failed_one_the_serving_one_comes_back(read: Read, serving: Deployment, journal: Journal) -> None:
    """Once the reason has been told."""
    failing = begin(serving.app_id)
    reading = read()
    assert reading.next()["deployment_id"] == failing.id
    journal.say("why", "rustploy-build@blog.service", failing.id)
    failing.move(("retrying",), "failed")
    assert reading.next() == {"deployment_id": failing.id, "logs": "why", "reset": False}
    assert reading.next() == {"deployment_id": serving.id, "logs": "", "reset": True}


@pytest.mark.parametrize(
    ("status", "followed"), [("deploying", True), ("retrying", True), ("queued", False), ("failed", False)]
)
def test_which_deployment_is_the_active_one(serving: Deployment, status: str, followed: bool) -> None:
    other = begin(serving.app_id)
    Deployment.update(status=status).where(Deployment.id == other.id).execute()
    found = streams.active_deployment(App.get_by_id(serving.app_id))
    Deployment.update(status="failed").execute()
    assert found == (other.id if followed else serving.id)


def test_without_one_that_serves_the_last_that_was_tried_is_shown(blog: str) -> None:
    """Else the reason why a first deployment failed is nowhere to be seen."""
    failed = begin(blog)
    failed.move(("retrying",), "failed")
    assert streams.active_deployment(App.get_by_id(blog)) == failed.id


def test_who_comes_back_goes_on_where_it_was(read: Read, serving: Deployment, journal: Journal) -> None:
    journal.say("one", UNIT, serving.id)
    first = read()
    first.next()
    first.close()
    journal.say("two", UNIT, serving.id)
    again = read(**{"Last-Event-ID": first.id})
    assert again.next() == {"deployment_id": serving.id, "logs": "two", "reset": False}


def test_who_saw_an_empty_log_misses_no_first_line(read: Read, serving: Deployment, journal: Journal) -> None:
    first = read()
    first.next()
    journal.say("one", UNIT, serving.id)
    assert read(**{"Last-Event-ID": first.id}).next() == {"deployment_id": serving.id, "logs": "one", "reset": False}


def test_places_that_say_nothing_begin_anew(read: Read, serving: Deployment, journal: Journal) -> None:
    journal.say("one", UNIT, serving.id)
    foreign = f"{'0' * 36}/i=0"
    no_cursor = f"{serving.id}/z=1"
    for wrong in ("x", f"{serving.id}/i=77", f"{serving.id}/zz=1", foreign, "i=0", f"{serving.id}/i=0 ", no_cursor):
        found = read(**{"Last-Event-ID": wrong}).next()
        assert found == {"deployment_id": serving.id, "logs": "one", "reset": True}, wrong


def test_a_line_written_while_the_reader_looks_elsewhere_is_not_lost(journal: Journal) -> None:
    """Else a log lacks one line of thousands, and nobody can tell."""
    build = "rustploy-build@blog.service"
    lines = Selection("1", (build, UNIT))
    journal.say("first", UNIT, "1")
    with Log() as log:
        before = log.newest(lines, 10, 1000)
        journal.race(("of the build", build, "1"), ("of the app", UNIT, "1"))
        after = log.after(lines, before.cursor, 10, 1000)
        assert (before.lines, after.lines) == (["first"], ["of the build", "of the app"])
        assert log.after(lines, after.cursor, 10, 1000).lines == []


def test_the_watch_tells_of_a_line_written_while_it_looks_elsewhere(journal: Journal) -> None:
    """Else a line comes when the next one is written, or with the heartbeat."""
    agent = "rustploy-agent.service"
    watch = Watch()
    try:
        watch.select([agent, UNIT])
        journal.race(("hello", UNIT, "1"), ("about another app", agent, ""))
        assert watch.news() == {(UNIT, ""), (agent, "")}
        assert watch.news() == set()
    finally:
        watch.close()


@pytest.mark.parametrize("tail", ["", "?tail=1"])
def test_a_line_that_is_being_written_is_read_whole(
    read: Read, serving: Deployment, journal: Journal, tail: str
) -> None:
    """Else its text is lost: an empty line stands in its place."""
    if tail:
        journal.say_piecemeal("hello", UNIT, serving.id, 3)
        assert read(query=tail).next()["logs"] == "hello"
        return
    reading = read()
    reading.next()
    journal.say_piecemeal("hello", UNIT, serving.id, 3)
    assert reading.next()["logs"] == "hello"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"10%\r50%\r100%", "100%"),
        (b"10%\r100%\r", "100%"),
        (b"10%\r100%\r\x1b[K", "100%"),
        (b"10%\r   \rdone", "done"),
        (b"\r\r", ""),
        (b"windows\r", "windows"),
        (b"   ", "   "),
        (b"caf\xe9 \rdata: x \x1b[31mred\x1b[0m\x00", "data: x red"),
    ],
)
def test_the_last_state_of_a_line_counts(
    read: Read, serving: Deployment, journal: Journal, written: bytes, shown: str
) -> None:
    """Else a progress bar is one line of all it ever showed."""
    journal.say(written, UNIT, serving.id)
    assert read().next()["logs"] == shown


def test_lines_that_were_rotated_away_begin_anew(read: Read, serving: Deployment, journal: Journal) -> None:
    """Else a page shows a log with a hole as a whole one."""
    journal.say("one", UNIT, serving.id)
    reading = read()
    reading.next()
    journal.say("lost", UNIT, serving.id)
    journal.vacuum(keep=0)
    journal.say("kept", UNIT, serving.id)
    assert reading.next() == {"deployment_id": serving.id, "logs": "kept", "reset": True}


def test_dropped_lines_are_told_of_where_they_are_missing(
    read: Read, reader: Client, serving: Deployment, journal: Journal
) -> None:
    journal.drop(7, UNIT)  # before this deployment had the unit
    journal.say("one", UNIT, serving.id)
    journal.drop(5, "rustploy-app@other-web-a.service")
    journal.drop(3, UNIT)
    journal.say("Suppressed 9 messages", UNIT, serving.id, MESSAGE_ID="a596d6fe7bfa4994828e72309e95d61e")
    journal.drop(4, UNIT)  # of the deployment that has the unit next
    wanted = ["one", f"[journald: Suppressed 3 messages from {UNIT}]", "Suppressed 9 messages"]
    reading = read()
    assert reading.next()["logs"].split("\n")[-3:] == wanted
    answer = reader("GET", f"/apps/blog/deployments/{serving.id}/logs").get_json()
    assert answer["logs"].split("\n")[-3:] == wanted


def test_a_revoked_token_ends_it(read: Read, serving: Deployment, token: Callable[..., str]) -> None:
    reading = read(secret=token("read", 3600))
    reading.next()
    auth.revoke(Token.select().where(Token.expires_at_unix_ms.is_null(False)).get())
    assert reading.ended()


def test_a_token_that_no_longer_has_this_app_ends_it(read: Read, serving: Deployment, blog: str) -> None:
    secret, row = auth.create_token("blog's", ["read"], None, apps=[blog])
    reading = read(secret=secret)
    reading.next()
    Token.update(apps=["another"]).where(Token.id == row.id).execute()
    assert reading.ended()


def test_an_app_that_is_removed_ends_it(read: Read, serving: Deployment) -> None:
    reading = read()
    reading.next()
    App.update(deleting=True).execute()
    assert reading.ended()


def test_a_gone_client_frees_its_slot_and_the_last_one_everything(
    read: Read, serving: Deployment, core: Core, journal: Journal
) -> None:
    reading = read()
    reading.next()
    until(lambda: len(core.streams) == 1 and len(journal.readers) == 2)
    reading.gone = True
    assert reading.ended()
    reading.close()
    until(lambda: (len(core.streams), journal.readers) == (0, []))


def test_an_agent_that_stops_ends_all(read: Read, serving: Deployment, core: Core) -> None:
    reading = read()
    reading.next()
    core.streams.end()
    assert reading.ended()


def test_no_more_than_the_settings_allow(read: Read, serving: Deployment, core: Core) -> None:
    core.streams._places = Places(4, 1)
    for number in range(3):
        core.streams._places.take(Holder("token:another", f"app {number}"))
    first = read()
    full = read()
    assert full.answer.status_code == 503 and full.answer.get_json()["error"]["code"] == "too_many_streams"
    assert int(full.answer.headers["Retry-After"]) > 0
    first.close()
    assert read().answer.status_code == 200


def test_one_caller_and_one_app_get_a_share(
    read: Read, serving: Deployment, core: Core, token: Callable[..., str]
) -> None:
    """Else a token that may read the log of one app takes all streams, and nobody can watch a deployment."""
    core.streams._places = Places(4, 4)
    first, secret = read(), token("read")
    more = read()
    assert (more.answer.status_code, more.answer.get_json()["error"]["code"]) == (429, "too_many_streams")
    assert "this caller has 1 log streams open" in more.answer.get_json()["error"]["message"]
    assert int(more.answer.headers["Retry-After"]) > 0
    assert read(secret=secret).answer.status_code == 200
    of_app = read(secret=token("read"))
    assert (of_app.answer.status_code, of_app.answer.get_json()["error"]["code"]) == (429, "too_many_streams")
    assert "this app has 2 log streams open" in of_app.answer.get_json()["error"]["message"]
    first.close()
    assert read().answer.status_code == 200


def test_asking_for_headers_alone_opens_nothing(api: Flask, reader: Client, serving: Deployment, core: Core) -> None:
    with api.test_client() as client:
        answer = client.head("/api/v1/apps/blog/logs/stream", headers={"Authorization": f"Bearer {reader.token}"})
    assert (answer.status_code, len(core.streams)) == (200, 0)


@pytest.mark.parametrize("tail", ["0", "5001", "x", ""])
def test_a_wrong_tail_is_refused(reader: Client, serving: Deployment, core: Core, tail: str) -> None:
    assert reader.code("GET", f"/apps/blog/logs/stream?tail={tail}") == (400, "invalid_request")
    assert len(core.streams) == 0


def test_an_unknown_app_is_not_found(reader: Client) -> None:
    assert reader.code("GET", "/apps/nothing/logs/stream") == (404, "app_not_found")
