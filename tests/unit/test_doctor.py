"""What doctor says where only a host could show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rustploy_agent import doctor, reach
from rustploy_agent.config import Settings


@pytest.mark.parametrize(
    ("controllers", "told"),
    [
        ("cpuset cpu io memory pids\n", None),
        ("cpuset io pids\n", "no control of cpu, memory"),
        ("", "no control of cpu"),
    ],
)
def test_limits_that_do_not_hold_are_told(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, controllers: str, told: str | None
) -> None:
    """Else one app takes all the memory of a server in a container, and everybody believes that it cannot."""
    (tmp_path / "cgroup.controllers").write_text(controllers)
    monkeypatch.setattr(doctor, "CONTROL_GROUPS", tmp_path)
    trouble = doctor.CHECKS["limits of apps"](settings)
    assert trouble is None if told is None else trouble is not None and told in trouble[0]


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ("nameserver 127.0.0.53\n# nameserver 169.254.169.254\n", None),
        ("nameserver 169.254.169.254\n", "169.254.169.254"),
    ],
)
def test_a_name_server_that_apps_may_not_reach_is_told(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, servers: str, told: str | None
) -> None:
    """On some clouds it has the address of the metadata; no app there finds its database, and nothing says why."""
    (tmp_path / "resolv.conf").write_text(servers)
    monkeypatch.setattr(reach, "RESOLVER", tmp_path / "resolv.conf")
    trouble = doctor.CHECKS["name servers"](settings)
    assert trouble is None if told is None else trouble is not None and told in trouble[0]


def test_the_older_kind_of_control_groups_is_told(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CONTROL_GROUPS", tmp_path)
    trouble = doctor.CHECKS["limits of apps"](settings)
    assert trouble is not None and "not of version 2" in trouble[0]
