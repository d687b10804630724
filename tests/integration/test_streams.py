"""GET /apps/{app}/logs/stream on a real journald: what a page or `curl -N` sees while things happen."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration import helpers
from tests.integration.helpers import Deployments, scripted
from tests.integration.listener import Listener
from tests.machine import Machine

pytestmark = pytest.mark.usefixtures("machine")

#: Also says lines when asked to: /say/10 are ten of them, numbered from the last on; /raw is what no log should hold.
TALKER = """
import http.server, itertools, os, pathlib, sys

NUMBERS = itertools.count(1)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/say/"):
            for _ in range(int(self.path.removeprefix("/say/"))):
                print("line", next(NUMBERS))
        if self.path == "/raw":
            sys.stdout.buffer.write(b"10% \\rdata: caf\\xe9 \\x1b[31mred\\x1b[0m\\x00\\n")
            print("x" * 100_000 + "\\nend of raw")
        sys.stdout.flush()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass

print("version", pathlib.Path("version.txt").read_text(), "talks", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def talker(version: str, build: str = "true") -> dict[str, str]:
    return scripted(version, build) | {"app.py": TALKER}


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def talking(api: Deployments) -> str:
    api.create("talker", talker("one"), build_mode="script")
    api.healthy("talker")
    return "talker"


@contextlib.contextmanager
def listening(
    api: Deployments, app: str, query: str = "", token: str | None = None, last: str = ""
) -> Iterator[Listener]:
    listener = Listener(api.machine, app, query, token=token, last=last)
    assert listener.status == 200, listener.status
    try:
        yield listener
    finally:
        listener.close()


def numbers(lines: list[str]) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.fullmatch(r"line (\d+)", line))]


def in_journal(api: Deployments, missing: list[int]) -> list[object]:
    """What journald has of lines that a reader lacks, with all fields: did they get there, and under the right ones?"""
    said = {f"line {number}" for number in missing}
    return [entry for entry in api.machine.journal("-u", "rustploy-app@talker-*") if entry.get("MESSAGE") in said]


def test_a_deployment_is_seen_from_its_first_line_to_the_switch_and_then_a_rollback(api: Deployments) -> None:
    """Else a page shows the old release's log, or two mixed, while somebody waits for the new one."""
    api.create("watched", talker("one", "echo building one"), build_mode="script")
    with listening(api, "watched") as listener:
        listener.wait_for(lambda: listener.events)
        assert listener.events[0] == {"deployment_id": None, "logs": "", "reset": True}
        first = api.healthy("watched")["id"]
        listener.wait_for(lambda: listener.saw("version one talks"))
        shown = listener.shown()
        assert shown.index("building one") < next(at for at, line in enumerate(shown) if "version one" in line)
        # A quick deployment may come as one event.
        begins, *follow = [one["reset"] for one in listener.events if one["deployment_id"] == first]
        assert begins and not any(follow)
        api.commit("watched", {"version.txt": "two", "build.sh": "echo building two\n"})
        second = api.healthy("watched")["id"]
        listener.wait_for(lambda: listener.saw("version two talks"))
        assert "version one talks" not in listener.shown() and "building two" in listener.shown()
        back = api.healthy("watched", "rollback")["id"]
        listener.wait_for(lambda: listener.events[-1]["deployment_id"] == back and listener.saw("version one talks"))
        ids = [one["deployment_id"] for one in listener.events]
        assert list(dict.fromkeys(ids)) == [None, first, second, back]
        resets = [one["deployment_id"] for one in listener.events if one["reset"]]
        assert resets == [None, first, second, back]
        whole = api.logs("watched", back).splitlines()
        listener.wait_for(lambda: listener.shown() == whole, what=f"what is shown to be the log: {whole}")


def test_a_deployment_that_fails_is_seen_with_its_reason_before_the_one_that_serves_comes_back(
    api: Deployments, talking: str
) -> None:
    """Else a page jumps back to the old release and nobody learns what was wrong."""
    serving = api.history(talking)[0]["id"]
    with listening(api, talking) as listener:
        listener.wait_for(lambda: listener.saw("version one talks"))
        api.commit(talking, {"build.sh": "echo hopeless; exit 3\n"})
        failed = api.failed(talking)["id"]
        listener.wait_for(lambda: listener.events[-1]["deployment_id"] == serving)
        of_failed = "\n".join(one["logs"] for one in listener.events if one["deployment_id"] == failed)
        assert "hopeless" in of_failed and "build_failed" in of_failed
        assert listener.events[-1]["reset"] and "version one talks" in listener.events[-1]["logs"]
    api.commit(talking, {"build.sh": "true\n"})


def test_lines_come_at_once_and_no_line_can_break_the_stream(api: Deployments, talking: str) -> None:
    """Else an app that prints binary junk or an event of its own breaks, or fakes, what a page shows."""
    with listening(api, talking, "?tail=5") as listener:
        listener.wait_for(lambda: listener.events)
        assert len(listener.events[0]["logs"].split("\n")) <= 5
        begun = time.monotonic()
        api.get(talking, "/say/1")
        listener.wait_for(lambda: numbers(listener.shown()))
        assert time.monotonic() - begun < 5
        api.get(talking, "/raw")
        listener.wait_for(lambda: listener.saw("end of raw"))
        shown = listener.shown()
        assert "data: caf\ufffd red" in shown  # the last state of a line that was drawn anew
        assert sum(line.count("x") for line in shown if set(line) == {"x"}) == 100_000


def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(api: Deployments, talking: str) -> None:
    """Also over a restart of the agent, which must not wait for streams either."""
    with listening(api, talking) as listener:
        listener.wait_for(lambda: listener.events)
        start = max(numbers(listener.shown()), default=0) + 1
        api.get(talking, "/say/1500")
        listener.wait_for(lambda: max(numbers(listener.shown()), default=0) >= start + 100)
        begun = time.monotonic()
        api.machine.run(["systemctl", "restart", "rustploy-agent.service"])
        took = time.monotonic() - begun
        listener.wait_for(lambda: listener.ended)
        seen = numbers(listener.shown())
        api.get(talking, "/say/1500")
        api.machine.wait_for_agent()
        assert took < 8, took
        with listening(api, talking, last=listener.last) as again:
            again.wait_for(lambda: start + 2999 in numbers(again.shown()))
            api.get(talking, "/say/10")
            again.wait_for(lambda: start + 3009 in numbers(again.shown()))
            assert not any(one["reset"] for one in again.events)
            both = [number for number in seen + numbers(again.shown()) if number >= start]
            wanted = list(range(start, start + 3010))
            assert both == wanted, in_journal(api, sorted(set(wanted) - set(both))[:10])


def test_a_place_that_is_not_there_any_more_begins_anew(api: Deployments, talking: str) -> None:
    """Else whoever comes back after the journal was rotated away waits for ever, or believes to have seen all."""
    with listening(api, talking) as listener:
        listener.wait_for(lambda: listener.events)
        deployment, _, cursor = listener.last.partition("/")
    vacuumed = re.sub("(?<=i=)[^;]*|(?<=x=).*", "1", cursor)
    no_cursor = f"{deployment}/z=1"
    for last in (f"{deployment}/{vacuumed}", f"{'0' * 36}/{cursor}", "nonsense", f"{deployment}/{cursor};x", no_cursor):
        with listening(api, talking, last=last) as again:
            again.wait_for(lambda again=again: again.events, what=last)
            assert again.events[0]["reset"] is True and again.events[0]["logs"]


def test_rotating_the_journal_under_a_stream_changes_nothing(api: Deployments, talking: str) -> None:
    with listening(api, talking) as listener:
        listener.wait_for(lambda: listener.events)
        api.get(talking, "/say/5")
        api.machine.run(["journalctl", "--rotate"])
        api.get(talking, "/say/5")
        listener.wait_for(lambda: listener.shown()[-1:] and listener.saw("line"))
        last = max(numbers(listener.shown()), default=0)
        api.get(talking, "/say/5")
        listener.wait_for(lambda: max(numbers(listener.shown()), default=0) >= last + 5)
        found = numbers(listener.shown())
        assert found == sorted(set(found)) and found[-1] - found[0] == len(found) - 1
        assert len([one for one in listener.events if one["reset"]]) == 1


def test_lines_that_journald_dropped_are_told_of(api: Deployments, talking: str) -> None:
    """Else a log with a hole looks like a whole one."""
    machine = api.machine
    slot = api.app(talking)["active_slot"]
    unit = f"rustploy-app@{talking}-web-{slot}.service"
    drop_in = f"/etc/systemd/system/{unit}.d/90-test.conf"
    machine.write(drop_in, "[Service]\nLogRateLimitIntervalSec=2s\nLogRateLimitBurst=50\n")
    try:
        machine.run(["systemctl", "daemon-reload"])
        machine.run(["systemctl", "restart", unit])
        machine.wait_for(lambda: _answers(api, talking), 20, "the app to answer")
        with listening(api, talking) as listener:
            listener.wait_for(lambda: listener.events)
            api.get(talking, "/say/500")
            time.sleep(2.5)
            api.get(talking, "/say/1")
            listener.wait_for(lambda: listener.saw("[journald: Suppressed"), what="the notice")
            listener.wait_for(lambda: "line 501" in listener.shown())
            shown = listener.shown()
            notice = next(line for line in shown if line.startswith("[journald: Suppressed"))
            assert unit in notice and int(notice.split()[2]) + len(numbers(shown)) >= 500
        log = api.logs(talking, api.history(talking)[-1]["id"]).splitlines()
        assert notice in log and log.index(notice) + 1 == log.index("line 501")
    finally:
        machine.run(["rm", "-f", drop_in])
        machine.run(["systemctl", "daemon-reload"])
        machine.run(["systemctl", "restart", unit])


def _answers(api: Deployments, app: str) -> bool:
    with contextlib.suppress(OSError):
        return api.get(app).status == 200
    return False


def test_who_may_read_no_longer_is_cut_off(api: Deployments, talking: str) -> None:
    """A revoked or expired token, also one that root revoked on the command line, and an app that is deleted."""
    machine = api.machine

    def token(**more: object) -> dict[str, str]:
        made = machine.http("POST", "/api/v1/tokens", {"name": "reader", "scopes": ["read"], **more})
        return {"secret": made.body["token"], "id": made.body["summary"]["id"]}

    over_api, over_cli, short = token(), token(), token(expires_in_seconds=6)
    api.create("fleeting", talker("one"), build_mode="script")
    api.healthy("fleeting")
    with contextlib.ExitStack() as stack:
        ends = [
            stack.enter_context(listening(api, talking, token=one["secret"])) for one in (over_api, over_cli, short)
        ]
        ends.append(stack.enter_context(listening(api, "fleeting")))
        stays = stack.enter_context(listening(api, talking))
        for listener in (*ends, stays):
            listener.wait_for(lambda listener=listener: listener.events)
        assert machine.http("DELETE", f"/api/v1/tokens/{over_api['id']}").status == 204
        machine.run(["rustploy-agent", "token", "revoke", over_cli["id"]])
        api.delete("fleeting")
        for number, listener in enumerate(ends):
            listener.wait_for(lambda listener=listener: listener.ended, 30, f"stream {number} to end")
        assert not stays.ended


def test_streams_leave_the_api_its_threads_and_gone_readers_leave_theirs(api: Deployments, talking: str) -> None:
    """Else sixty-four open pages, or closed ones, are an agent that answers nobody."""
    machine = api.machine
    quiet = api.import_app("quiet", machine.repositories.create("quiet", talker("one")), build_mode="script")
    tokens = [_reader(machine) for _ in range(4)]
    readers = [(talking, tokens[0]), (talking, tokens[1]), (quiet, tokens[2]), (quiet, tokens[3])]
    with contextlib.ExitStack() as stack:
        of_talking = [
            stack.enter_context(listening(api, talking, token=token)) for _, token in readers[:2] for _ in range(16)
        ]
        refused = machine.http("GET", f"/api/v1/apps/{quiet}/logs/stream", token=tokens[0])
        assert (refused.status, refused.body["error"]["code"]) == (429, "too_many_streams"), "one token takes them all"
        refused = machine.http("GET", f"/api/v1/apps/{talking}/logs/stream", token=tokens[2])
        assert (refused.status, refused.body["error"]["code"]) == (429, "too_many_streams"), "one app takes them all"
        of_quiet = [
            stack.enter_context(listening(api, app, token=token)) for app, token in readers[2:] for _ in range(16)
        ]
        for listener in (*of_talking, *of_quiet):
            listener.wait_for(lambda listener=listener: listener.events)
        begun = time.monotonic()
        assert all(machine.http("GET", "/api/v1/health").status == 200 for _ in range(20))
        assert time.monotonic() - begun < 10
        full = machine.http("GET", f"/api/v1/apps/{talking}/logs/stream")
        assert (full.status, full.body["error"]["code"]) == (503, "too_many_streams")
        api.get(talking, "/say/1")
        for listener in of_talking:
            listener.wait_for(lambda listener=listener: listener.saw("line "))
    _wait_for_no_streams(machine)
    with contextlib.ExitStack() as stack:
        for app, token in readers:
            for _ in range(16):
                stack.enter_context(listening(api, app, token=token))
    _wait_for_no_streams(machine)


def _wait_for_no_streams(machine: Machine) -> None:
    machine.wait_for(lambda: not _metrics(machine)["rustploy_log_streams",], 20, "the slots of readers that are gone")


def _reader(machine: Machine) -> str:
    made = machine.http("POST", "/api/v1/tokens", {"name": "reader", "scopes": ["read"]}).body
    machine.secrets.add(made["token"])
    return str(made["token"])


def _metrics(machine: Machine) -> dict[tuple[str, ...], float]:
    """Values by name and the labels' values."""
    text = machine.http("GET", "/metrics", token="").body
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_of_processes_and_streams_but_not_to_an_app(api: Deployments, talking: str) -> None:
    """Else nobody is woken when a process is down, or an app learns the names of the others."""
    machine = api.machine
    with listening(api, talking):
        found = _metrics(machine)
    assert found["rustploy_app_process_up", talking, "web"] == 1
    assert found["rustploy_log_streams",] >= 1
    assert found["rustploy_deployment_step_seconds_count", "build"] >= 0
    assert 10 << 20 < found["process_resident_memory_bytes",] < 200 << 20
    fetch = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{machine.place.port}/metrics')"
    refused = machine.run(["python3", "-c", fetch], user=f"rp-{talking}", check=False)
    assert "HTTP Error 401" in refused.stderr
