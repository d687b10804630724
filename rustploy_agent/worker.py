"""The queue: one deployment per app at a time, a few overall, nothing lost at a crash.

Deployments wait in SQLite; threads sleep on a condition and wake only when there is work or a retry is due. One thread
more does rollbacks alone, so that nobody's way back waits for other apps' builds.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from rustploy_agent import attempts, ballast, damage, deploy, events, history, reservation
from rustploy_agent.attempts import ROLLBACK, WAITING
from rustploy_agent.clock import left_ms, now_ms
from rustploy_agent.config import Settings
from rustploy_agent.desired import Applier
from rustploy_agent.errors import AgentError, Conflict, DeploymentFailed, NotFound, SystemdUnavailable
from rustploy_agent.leftovers import Leftovers
from rustploy_agent.memory import give_back
from rustploy_agent.models import App, DatabaseError, Deployment, database, rest
from rustploy_agent.run import Run
from rustploy_agent.standby import Standby
from rustploy_agent.systemd import Systemd

log = logging.getLogger(__name__)
T = TypeVar("T")
BACKOFF_MS, LONGEST_BACKOFF_MS = 5_000, 60_000
RECORD_AGAIN_SECONDS = 5
#: Of so many apps at once, what follows the switch is done without a place among the deployments.
MOST_AFTER = 8


class Worker:
    def __init__(self, settings: Settings, systemd: Systemd, applier: Applier) -> None:
        self._settings, self._systemd, self._applier = settings, systemd, applier
        lock = threading.RLock()
        #: An app is free; and, for one of the worker's threads, there may be something to do.
        self._freed, self._work_came = threading.Condition(lock), threading.Condition(lock)
        #: The same for the thread that does rollbacks alone, told only while all the others work.
        self._rollback_came, self._idle = threading.Condition(lock), 0
        self._busy: set[str] = set()
        self._after = threading.BoundedSemaphore(MOST_AFTER)
        #: Set for who holds an app, to have it end what it does.
        self._holders: dict[str, threading.Event] = {}
        self._runs: dict[str, Run] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._leftovers = Leftovers(self.hold)
        self.standby = Standby(settings, systemd, self.hold)

    def start(self) -> None:
        for number in range(self._settings.concurrency):
            self._start_thread(f"worker-{number}", self._work_came)
        self._start_thread("worker-rollbacks", self._rollback_came)

    def _start_thread(self, name: str, came: threading.Condition) -> None:
        thread = threading.Thread(target=self._work, args=(came,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """Nothing more is begun; returns when what is under way has ended."""
        with self._work_came:
            self._stopping = True
            self._work_came.notify_all()
            self._rollback_came.notify_all()
        for thread in self._threads:
            thread.join()
        for _ in range(MOST_AFTER):
            self._after.acquire()
        self._after.release(MOST_AFTER)
        self._leftovers.stop()
        self.standby.stop()

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def wake(self, *, rollback: bool = True) -> None:
        """One thread: all of them would look at once, and keep the one that finds something from working.

        While all work, that for rollbacks looks, if there may be a `rollback`.
        """
        with self._work_came:
            if self._idle:
                self._work_came.notify()
            elif rollback:
                self._rollback_came.notify()

    def enqueue(self, deployment: Deployment) -> None:
        """Durable once it, or the transaction around it, has ended. A newer one supersedes those that wait."""
        superseded = self.record(deployment)
        database.after_commit(lambda: self.announce(superseded, rollback=deployment.kind == ROLLBACK))

    def record(self, deployment: Deployment) -> list[Deployment]:
        """`enqueue` inside a transaction; what it returns is to be told to `announce` after the commit."""
        with database.atomic("IMMEDIATE"):
            reservation.take(deployment)
            waiting = [
                one for one in history.in_status(deployment.app, *WAITING) if attempts.gives_way(one, deployment)
            ]
            for older in waiting:
                older.move(WAITING, "failed", **attempts.superseded_by(deployment))
            deployment.created_at_unix_ms = deployment.updated_at_unix_ms = Deployment.next_turn(deployment.app)
            if not App.select().where(App.id == deployment.app_id, ~App.deleting).exists():
                raise NotFound("the app was deleted meanwhile", code="app_not_found")
            deployment.save(force_insert=True)
        return waiting

    def announce(self, superseded: list[Deployment], *, rollback: bool = False) -> None:
        """Not inside a transaction: `wake` waits for a thread that looks for work, and that may wait for its end."""
        self.wake(rollback=rollback)
        for deployment in superseded:
            events.deployment_finished.send(deployment)

    def cancel(self, deployment: Deployment) -> None:
        """A waiting deployment ends at once, a running one at its next look; after the switch it is too late."""
        message = {"error_code": "cancelled", "last_error": "the deployment was cancelled"}
        if deployment.move(WAITING, "failed", **message):
            events.deployment_finished.send(deployment)
            return
        asked = Deployment.update(cancel_requested=True).where(
            Deployment.id == deployment.id, Deployment.status == "deploying"
        )
        if not asked.execute():
            status = Deployment.get_by_id(deployment.id).status
            raise Conflict(f"the deployment is {status} and cannot be cancelled any more", code="not_cancellable")
        run = self._runs.get(deployment.id)
        if run is not None:
            run.cancelled.set()

    @contextlib.contextmanager
    def hold(self, app_id: str, seconds: float, *, interrupt: bool = False) -> Iterator[threading.Event]:
        """Keeps deployments of an app from beginning; Conflict when one does not end in time.

        With `interrupt`, who holds it now is to end early: what this yields is set then.
        """
        interrupted = threading.Event()
        with self._freed:
            if interrupt and app_id in self._holders:
                self._holders[app_id].set()
            if not self._freed.wait_for(lambda: app_id not in self._busy, seconds):
                raise Conflict(
                    "a deployment of this app is under way; wait for it or cancel it", code="deployment_in_progress"
                )
            self._busy.add(app_id)
            self._holders[app_id] = interrupted
        try:
            yield interrupted
        finally:
            self._release(app_id)

    def _release(self, app_id: str) -> None:
        with self._freed:
            self._busy.discard(app_id)
            self._holders.pop(app_id, None)
            self._freed.notify_all()
            self.wake()

    def _work(self, came: threading.Condition) -> None:
        while (deployment := self._take(came)) is not None:
            run, rest_of_it = self._end(deployment)
            if rest_of_it is not None and self._after.acquire(blocking=False):
                aside = (deployment, run, rest_of_it)
                threading.Thread(target=self._complete_aside, args=aside, name="worker-after", daemon=True).start()
            else:
                self._complete(deployment, run, rest_of_it)

    def _complete_aside(self, deployment: Deployment, run: Run | None, rest_of_it: deploy.Rest) -> None:
        """In a thread of its own: another app's next deployment has this one's place already."""
        try:
            self._complete(deployment, run, rest_of_it)
            rest()
        finally:
            self._after.release()

    def _complete(self, deployment: Deployment, run: Run | None, rest_of_it: deploy.Rest | None) -> None:
        """Do what follows a deployment's end. Its app is held until then: none of its own begins before."""
        try:
            if run is not None and rest_of_it is not None:
                self._guarded(run, rest_of_it)
            if run is not None:
                self.standby.ready(run.app, run.jobs, slot=run.deployment.status == "healthy")
        except Exception:
            log.exception("deployment %s ended in an internal error", deployment.id)
            self._fail_somehow(deployment)
        finally:
            self._runs.pop(deployment.id, None)
            self._release(deployment.app_id)
            ballast.lay(self._settings.paths)
            database.forget_idle()
            give_back()

    def _fail_somehow(self, deployment: Deployment) -> None:
        """What cannot be recorded now, for want of room, is recorded as soon as it can be; until then the app waits."""
        told = {"error_code": "internal_error", "last_error": "internal error; see journalctl -u rustploy-agent"}
        while True:
            ballast.give_way(self._settings.paths)
            try:
                if deployment.move(("deploying",), "failed", **told):
                    events.deployment_finished.send(deployment)
                return
            except DatabaseError as error:
                damage.end_if_damaged(error)
                log.error("the end of deployment %s cannot be recorded yet: %s", deployment.id, error)
                time.sleep(RECORD_AGAIN_SECONDS)

    def _take(self, came: threading.Condition) -> Deployment | None:
        """The oldest deployment that is due and whose app is free; sleeps until there is one, or the worker stops.

        Who takes one while others wait has another thread look after those.
        """
        with came:
            while not self._stopping:
                waiting = attempts.waiting_ones(rollbacks_only=came is self._rollback_came)
                free = [one for one in waiting if one.app_id not in self._busy]
                pauses = {one.id: left_ms(one.not_before_unix_ms, LONGEST_BACKOFF_MS) for one in free}
                due = [one for one in free if not pauses[one.id]]
                for deployment in due:
                    if attempts.begin(deployment):
                        self._busy.add(deployment.app_id)
                        if len(waiting) > 1:
                            self.wake(rollback=any(one.kind == ROLLBACK for one in waiting if one is not deployment))
                        return deployment
                pause = min((pauses[one.id] for one in free if one not in due), default=None)
                rest()
                self._sleep(came, None if pause is None else max(0.01, pause / 1000))
        return None

    def _sleep(self, came: threading.Condition, seconds: float | None) -> None:
        others = came is self._work_came
        self._idle += others
        came.wait(seconds)
        self._idle -= others

    def _end(self, deployment: Deployment) -> tuple[Run | None, deploy.Rest | None]:
        """Bring the deployment to its end; return what is left to do then, which is nothing after a failure."""
        try:
            run = Run(self._settings, self._systemd, self._applier, deployment.app, deployment, standby=self.standby)
            self._runs[deployment.id] = run
            if Deployment.get_by_id(deployment.id).cancel_requested:
                run.cancelled.set()
            return run, self._guarded(run, partial(_carry_out, run))
        except Exception:
            log.exception("deployment %s ended in an internal error", deployment.id)
            self._fail_somehow(deployment)
            return None, None

    def _guarded(self, run: Run, action: Callable[[], T]) -> T | None:
        """What the action returns; None after a failure, which is then recorded."""
        deployment = run.deployment
        try:
            return action()
        except DeploymentFailed as error:
            self._fail(run, error)
        except AgentError as error:
            # What systemd did not answer is done again as a whole: whether it was done cannot be told.
            retryable = isinstance(error, SystemdUnavailable)
            self._fail(run, DeploymentFailed(error.code, error.message, retryable=retryable))
        except Exception as error:
            log.exception("deployment %s", deployment.id)
            self._fail(
                run,
                DeploymentFailed(
                    "internal_error", f"internal error ({type(error).__name__}); see journalctl -u rustploy-agent"
                ),
            )
        return None

    def _fail(self, run: Run, error: DeploymentFailed) -> None:
        """Cleans up first, so that who reads `failed` finds nothing left over."""
        deployment = run.deployment
        if deployment.status == "healthy":
            run.log(f"cleaning up after the switch failed and will be tried again: {error.message}", priority=4)
            self._leftovers.later(run)
            return
        attempts.tidy_up(run, f"{error.code}: {error.message}")
        told = {"error_code": error.code, "last_error": error.message}
        if error.retryable and deployment.attempt < self._settings.attempts and not run.cancelled.is_set():
            pause = min(BACKOFF_MS * 2 ** (deployment.attempt - 1), LONGEST_BACKOFF_MS)
            attempts.retry_or_yield(deployment, not_before_unix_ms=now_ms() + pause, **told)
        else:
            deployment.move(("deploying",), "failed", **told)
        if deployment.status == "failed":
            events.deployment_finished.send(deployment)


def _carry_out(run: Run) -> deploy.Rest:
    run.log(f"{run.deployment.kind} begins, attempt {run.deployment.attempt}")
    return (deploy.rollback if run.deployment.kind == ROLLBACK else deploy.deploy)(run)
