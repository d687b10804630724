"""What a failed deployment says of the process that would not stay up."""

from types import SimpleNamespace
from typing import Any

import pytest

from rustploy_agent import readiness
from rustploy_agent.unit_state import ExitState

RUNS, ENDED = ExitState("success", 0, 0), ExitState("exit-code", 1, 7)


@pytest.fixture(autouse=True)
def no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness.journal, "unit_lines", lambda *_: ["no such database"])
    monkeypatch.setattr(readiness, "NEXT_END_SECONDS", 0.2)


def run_with(*ends: ExitState) -> Any:
    """A run whose systemd says these one after the other, and the last one for ever."""
    left = list(ends)
    systemd = SimpleNamespace(exit_state=lambda _: left.pop(0) if len(left) > 1 else left[0])
    return SimpleNamespace(systemd=systemd, raise_if_cancelled=lambda: None, deployment=SimpleNamespace(id="d"))


def test_the_status_of_a_process_that_was_started_again_is_that_of_its_next_end() -> None:
    """Else a crash on a busy machine is reported as an exit with status 0, and its reason is lost."""
    assert "exited with status 7 (exit-code)" in readiness.exited(run_with(RUNS, ENDED), "unit").message


def test_a_process_that_runs_again_is_not_said_to_have_ended_well() -> None:
    """A status that systemd has forgotten is not told as 0."""
    message = readiness.exited(run_with(RUNS), "unit").message
    assert message == "unit ended and was started again; its last lines:\nno such database"


def test_a_unit_that_systemd_could_not_start_is_told_of_at_once() -> None:
    """There is no end to wait for, and no status either."""
    message = readiness.exited(run_with(ExitState("resources", 0, 0), ENDED), "unit").message
    assert message.startswith("unit could not be started (resources)")
