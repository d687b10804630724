"""What a push deploys: the branch's newest commit, and never an older one over what somebody wished for since."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rustploy_agent import apps
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment, Release, database
from rustploy_agent.records import Delivery, DeliveryTarget
from tests.unit.manager import Manager
from tests.unit.waiting import ended, until

pytestmark = pytest.mark.processes
A, B, C = ("a" * 40, "b" * 40, "c" * 40)
Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(core: Core) -> Deploy:
    """Queues a deployment of the app, as a delivery does, and waits until it is settled."""
    app = apps.create("blog", core.settings, core.systemd, core.applier)
    App.update(repository={"clone_url": "https://git.example.org/anna/blog.git"}, source={"branch": "main"}).execute()
    core.worker.start()

    def run(**wishes: object) -> Deployment:
        deployment = Deployment(app=app, **{"source_ref": "main", **wishes})
        with database.atomic("IMMEDIATE"):
            superseded = core.worker.record(deployment)
            delivery = Delivery.create(provider="github", valid=True)
            DeliveryTarget.create(delivery=delivery, app_id=app.id, deployment_id=deployment.id)
        core.worker.announce(superseded)
        found = ended(deployment.id)
        until(lambda: Deployment.get_by_id(found.id).step == "prune" or found.status == "failed")
        with core.worker.hold(app.id, 10):
            pass
        return found

    return run


@pytest.fixture
def push(deploy: Deploy, manager: Manager) -> Deploy:
    """A delivery of a push of this commit, while the branch's newest is `tip`."""

    def run(commit: str, tip: str, *, contained: bool = True) -> Deployment:
        manager.fetched = {"commit": tip, "contains_pushed": contained}
        return deploy(pushed_commit=commit, commit_sha=commit)

    return run


def serves() -> str:
    return str(Release.get_by_id(App.get().active_release_id).commit_sha)


def reason(deployment: Deployment) -> str | None:
    told: str | None = DeliveryTarget.get(DeliveryTarget.deployment_id == deployment.id).reason
    return told


def test_of_pushes_delivered_in_the_wrong_order_the_newest_serves(push: Deploy) -> None:
    """Else the older commit is live while the branch has the newer one, and nobody is told."""
    second = push(B, tip=B)
    first = push(A, tip=B)
    assert (second.status, second.outcome, reason(second)) == ("healthy", "released", None)
    assert (first.status, first.outcome, first.commit_sha) == ("healthy", "unchanged", B)
    assert (serves(), reason(first)) == (B, "newer_commit")


def test_a_push_brings_what_was_pushed_after_it(push: Deploy) -> None:
    found = push(A, tip=B)
    assert (found.status, found.commit_sha, reason(found), serves()) == ("healthy", B, "newer_commit", B)


def test_a_late_delivery_does_not_undo_a_rollback_and_a_new_push_does(push: Deploy, deploy: Deploy) -> None:
    """Else who goes back in an emergency has the broken release again, hours later, by a delivery of long ago."""
    good = push(A, tip=A)
    push(B, tip=B)
    assert deploy(kind="rollback", target_release_id=good.release_id, source_ref=None).status == "healthy"
    for late in (A, B):
        found = push(late, tip=B)
        assert (found.status, found.error_code, reason(found)) == ("failed", "superseded", "deployed_before")
        assert "deploy it by hand" in found.last_error
        assert serves() == A
    assert push(C, tip=C).status == "healthy"
    assert serves() == C


def test_a_late_delivery_does_not_undo_a_deployment_by_hand(push: Deploy, deploy: Deploy, manager: Manager) -> None:
    push(A, tip=A)
    push(B, tip=B)
    manager.fetched = {}
    assert deploy(requested_commit=A).status == "healthy"
    assert push(B, tip=B).error_code == "superseded"
    assert serves() == A


def test_what_was_pushed_by_force_is_deployed_though_it_is_older(push: Deploy) -> None:
    """Who takes a commit back by a forced push else has it live for ever."""
    for commit in (A, B, A):
        found = push(commit, tip=commit)
        assert (found.status, reason(found), serves()) == ("healthy", None, commit)


def test_a_commit_whose_deployment_failed_is_tried_again(push: Deploy, manager: Manager) -> None:
    push(A, tip=A)
    manager.built = {"ok": False, "code": "build_failed", "message": "no"}
    assert push(B, tip=B).error_code == "build_failed"
    manager.built = {}
    assert push(B, tip=B).outcome == "released"


def test_a_host_that_lags_behind_its_own_webhook_is_asked_again(
    push: Deploy, deploy: Deploy, manager: Manager, core: Core
) -> None:
    """Else the push is lost: nothing tells of it a second time."""
    push(A, tip=A)
    manager.fetched = {"commit": A, "contains_pushed": False}
    late = Deployment(app=App.get(), source_ref="main", pushed_commit=B, commit_sha=B)
    core.worker.enqueue(late)
    until(lambda: Deployment.get_by_id(late.id).status == "retrying")
    assert Deployment.get_by_id(late.id).error_code == "commit_not_found"
    manager.fetched = {"commit": B, "contains_pushed": True}
    Deployment.update(not_before_unix_ms=0).where(Deployment.id == late.id).execute()
    core.worker.wake()
    assert (ended(late.id).status, serves()) == ("healthy", B)


def test_a_push_waits_for_a_rollback_and_does_not_take_its_place(push: Deploy, manager: Manager, core: Core) -> None:
    """Else a delivery that comes while an emergency's rollback waits its turn has it never happen."""
    good = push(A, tip=A)
    push(B, tip=B)
    app = App.get()
    with core.worker.hold(app.id, 10):
        back = Deployment(app=app, kind="rollback", target_release_id=good.release_id)
        core.worker.enqueue(back)
        late = Deployment(app=app, source_ref="main", pushed_commit=B, commit_sha=B)
        core.worker.enqueue(late)
    assert (ended(back.id).status, ended(late.id).error_code, serves()) == ("healthy", "superseded", A)
    with core.worker.hold(app.id, 10):
        pass
