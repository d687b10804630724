"""Settings, a database, and an agent composed of real parts over the systemd that tests/unit/manager.py plays."""

from __future__ import annotations

import dataclasses
import gc
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from flask import Flask

from rustploy_agent import activation, audit, config, environment, models, vault
from rustploy_agent.api import create_app
from rustploy_agent.core import Core
from rustploy_agent.desired import Applier
from rustploy_agent.domain_state import DomainStates
from rustploy_agent.ends import Ends
from rustploy_agent.resets import Resets
from rustploy_agent.routing import Routing
from rustploy_agent.shares import Places
from rustploy_agent.streams import Streams
from rustploy_agent.worker import Worker
from tests.unit.caddy import Caddy
from tests.unit.manager import Door, Manager
from tests.unit.waiting import until

TREE = Path(__file__).parents[2]
# A busy machine makes single examples slow; how long a test may take is not what these are for.
hypothesis.settings.register_profile("house", deadline=None, max_examples=60)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package's build makes of openapi.yaml."""
    made = tmp_path_factory.mktemp("share")
    argv = [sys.executable, "-B", TREE / "packaging" / "reference", TREE / "openapi.yaml", made]
    subprocess.run(argv, check=True, timeout=60)
    return made


@pytest.fixture
def settings(tmp_path: Path, share: Path) -> config.Settings:
    for name in ("agent", "apply", "apps", "key", "routes"):
        (tmp_path / name).mkdir()
    paths = config.Paths(state=tmp_path, library=TREE, share=share, run=tmp_path / "run")
    first = 21000 + os.getpid() % 80 * 100  # two runs at once do not meet
    document = {
        "apps": {"ports": {"first": first, "last": first + 99}},
        "deployments": {"standby_minutes": 0},  # tests count what units are asked to do; test_standby.py has it on
        "disk": {"min_free_mib": 0},
    }
    return dataclasses.replace(config.parse(document), paths=paths)


@pytest.fixture
def opened(settings: config.Settings) -> Iterator[None]:
    vault.make_key(settings.paths)
    models.open_database(settings.paths.database)
    environment.prepare(settings.paths)
    yield
    models.database.close()


@pytest.fixture
def manager(settings: config.Settings) -> Iterator[Manager]:
    played = Manager(settings.paths.state)
    yield played
    for name in played.running():
        played.StopUnit(name, "replace", timeout=1)


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every app's users are the one that runs the tests."""
    real: Callable[[str], pwd.struct_passwd] = pwd.getpwnam

    def getpwnam(name: str) -> pwd.struct_passwd:
        return pwd.getpwuid(os.geteuid()) if name.startswith(("rp-", "rpb-")) else real(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)


@pytest.fixture
def ingress() -> Caddy:
    return Caddy()


@pytest.fixture
def core(
    settings: config.Settings,
    opened: None,
    manager: Manager,
    accounts: None,
    ingress: Caddy,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Core]:
    """With a worker that does not work: what is queued stays queued until a test calls `start`."""
    # No visitor is on the way to the old slot here, and hundreds of deployments would wait for one.
    monkeypatch.setattr(activation, "HANDOVER_SECONDS", 0.02)
    door = Door(manager)
    applier = Applier(settings, door)
    slow = Places(settings.threads, 2)
    worker = Worker(settings, door, applier)
    streams = Streams(settings.streams)
    routing, resets, states = Routing(settings, ingress), Resets(settings.mail), DomainStates(settings)
    yield Core(settings, door, applier, worker, slow, routing, resets, states, streams, Ends(8))
    streams.end()
    _leave_no_work(manager)
    worker.stop()


def _leave_no_work(manager: Manager) -> None:
    """Work that is left would meet the next test's database and ports."""
    waiting = models.Deployment.status.in_(("queued", "retrying"))
    models.Deployment.update(status="failed").where(waiting).execute()
    models.Deployment.update(cancel_requested=True).execute()
    manager.gate.set()
    until(lambda: not models.Deployment.select().where(models.Deployment.status == "deploying").exists())


#: Compiling the routes takes longer than most tests, so it is done once.
_made: list[Flask] = []


@pytest.fixture
def api(core: Core) -> Flask:
    if not _made:
        _made.append(create_app(core))
    (app,) = _made
    app.extensions["rustploy"] = core
    audit.listen()
    return app


@pytest.fixture(scope="session", autouse=True)
def _frozen() -> None:
    """The agent collects garbage after deployments and imports; thousands of tests are none of it."""
    gc.collect()
    gc.freeze()
