"""What one process of an app may use: defaults of agent.yaml, changed per app through the API."""

import json
from collections.abc import Iterator

import pytest

from tests.integration import helpers
from tests.integration.byhand import DESIRED, ByHand
from tests.integration.helpers import Deployments, server
from tests.machine import Machine, Response

pytestmark = pytest.mark.usefixtures("machine")
MIB = 1 << 20


@pytest.fixture(scope="module")
def api(session_machine: Machine) -> Iterator[Deployments]:
    yield from helpers.deployments(session_machine)


@pytest.fixture(scope="module")
def app(api: Deployments) -> str:
    api.create("limited", server("one"))
    api.healthy("limited")
    return "limited"


def _patch(api: Deployments, app: str, limits: object) -> Response:
    return api.machine.http("PATCH", f"/api/v1/apps/{app}", {"limits": limits})


def _unit(api: Deployments, app: str) -> dict[str, str]:
    unit = api.app(app)["processes"][0]["unit"]
    shown = api.machine.run(["systemctl", "show", unit, "-pMemoryMax,CPUQuotaPerSecUSec,TasksMax"]).stdout
    return dict(line.partition("=")[::2] for line in shown.splitlines())


def test_an_app_has_the_settings_limits_until_it_gets_its_own(api: Deployments, app: str) -> None:
    """Else one app with a leak takes the whole server down."""
    assert _unit(api, app) == {"MemoryMax": str(512 * MIB), "CPUQuotaPerSecUSec": "1s", "TasksMax": "256"}
    answer = _patch(api, app, {"memory_max_bytes": 128 * MIB, "cpu_quota_percent": 50})
    assert answer.status == 200, answer.body
    assert answer.body["limits"] == {"memory_max_bytes": 128 * MIB, "cpu_quota_percent": 50, "tasks_max": 256}
    changed = {"MemoryMax": str(128 * MIB), "CPUQuotaPerSecUSec": "500ms", "TasksMax": "256"}
    assert _unit(api, app) == changed, "the running process has them at once"
    api.healthy(app, force_rebuild=True)
    assert _unit(api, app) == changed, "and so has the next release, in the other slot"


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"memory_max_bytes": 1}, "limits.memory_max_bytes"),
        ({"memory_max_bytes": "512M"}, "limits.memory_max_bytes"),
        ({"memory_max_bytes": True}, "limits.memory_max_bytes"),
        ({"memory_max_bytes": 1 << 70}, "limits.memory_max_bytes"),
        ({"cpu_quota_percent": 0}, "limits.cpu_quota_percent"),
        ({"tasks_max": 3}, "limits.tasks_max"),
        ({"tasks": 30}, "limits.tasks"),
        ({"memory_max_bytes": 1 << 40}, "limits.memory_max_bytes"),
        ({"cpu_quota_percent": 102400}, "limits.cpu_quota_percent"),
        ([], "limits"),
    ],
)
def test_wrong_limits_are_refused_by_name_and_change_nothing(
    api: Deployments, app: str, limits: object, field: str
) -> None:
    """Else a typo leaves an app without a limit, or one that cannot start any more."""
    before = _unit(api, app)
    answer = _patch(api, app, limits)
    assert answer.status == 400, answer.body
    assert [detail["field"] for detail in answer.body["error"]["details"]] == [field]
    assert _unit(api, app) == before


def test_the_ceilings_of_the_settings_hold_for_apply_too(api: Deployments, app: str) -> None:
    """Else an agent that was taken over gives one app all of the host."""
    before = json.loads(api.machine.read(DESIRED))
    most = json.loads(api.machine.read("/var/lib/rustploy/apply/ceilings.json"))
    assert most == {"memory_max_bytes": 4096 * MIB, "cpu_quota_percent": 400, "tasks_max": 4096}
    wish = json.loads(json.dumps(before))
    (wished,) = [one for one in wish["apps"] if one["name"] == app]
    wished["processes"][0]["memory_max_bytes"] = 1 << 40
    byhand, limits = ByHand(api.machine), _unit(api, app)
    try:
        about = byhand.apply(wish).result["apps"][app]
        assert about["error"].startswith("memory_max_bytes of web must be at most 4294967296")
        assert _unit(api, app) == limits
    finally:
        byhand.apply(before)
