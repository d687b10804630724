"""GET /metrics: what Prometheus' own parser reads from it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from rustploy_agent import auth, events, peers
from rustploy_agent.core import Core
from rustploy_agent.models import App, Deployment, Process
from tests.unit.api.conftest import Client

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(client: Client) -> Samples:
    text = client("GET", "/metrics").get_data(as_text=True)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(client: Client, name: str, **labels: str) -> float | None:
    return samples(client).get((name, tuple(sorted(labels.items()))))


def test_requests_are_counted_by_operation_and_not_by_what_strangers_type(reader: Client) -> None:
    """Else a scanner fills the memory of whoever collects the metrics."""
    reader("GET", "/apps")
    for number in range(20):
        reader("GET", f"/nothing/{number}")
        reader("GET", f"/apps/app{number}")
    found = samples(reader)
    name = "rustploy_http_request_seconds_count"
    assert found[name, (("operation", "list_apps"), ("status", "2xx"))] == 1
    assert found[name, (("operation", "none"), ("status", "4xx"))] == 20
    assert found[name, (("operation", "show_app"), ("status", "4xx"))] == 20
    assert (
        found["rustploy_http_request_seconds_bucket", (("le", "+Inf"), ("operation", "none"), ("status", "4xx"))] == 20
    )
    assert not any("app7" in str(key) for key in found)


def test_deployments_and_their_steps_are_timed(reader: Client, blog: str) -> None:
    deployment = Deployment.create(app=App.get(), status="deploying", attempt=1)
    for step in ("fetch", "build"):
        events.step_started.send(deployment, step=step)
    deployment.move(("deploying",), "healthy")
    events.deployment_finished.send(deployment)
    events.step_started.send(deployment, step="drain")
    found = samples(reader)
    assert found["rustploy_deployment_step_seconds_count", (("step", "fetch"),)] == 1
    assert found["rustploy_deployment_step_seconds_count", (("step", "build"),)] == 1
    assert found["rustploy_deployment_seconds_count", (("kind", "deploy"), ("outcome", "healthy"))] == 1


def test_the_pause_before_another_attempt_is_no_part_of_a_step(reader: Client, blog: str) -> None:
    deployment = Deployment.create(app=App.get(), status="retrying", attempt=1)
    events.step_started.send(deployment, step="fetch")
    deployment.attempt = 2
    events.step_started.send(deployment, step="fetch")
    assert value(reader, "rustploy_deployment_step_seconds_count", step="fetch") is None


def test_the_queue_the_streams_and_the_processes_are_asked_for(reader: Client, blog: str) -> None:
    App.update(active_slot="a").where(App.id == blog).execute()
    Deployment.create(app=App.get(), status="queued")
    found = samples(reader)
    assert found["rustploy_deployments_open", (("status", "queued"),)] == 1
    assert found["rustploy_log_streams", ()] == 0
    assert found["rustploy_app_process_up", (("app", "blog"), ("process", "web"))] == 0
    assert found["rustploy_app_process_wanted", (("app", "blog"), ("process", "web"))] == 1
    assert found["process_resident_memory_bytes", ()] > 0
    App.update(deleting=True).execute()
    assert not any("blog" in str(key) for key in samples(reader))


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/metrics"])
def test_this_host_needs_no_token_but_an_app_and_everybody_else_do(
    path: str, api: Flask, monkeypatch: pytest.MonkeyPatch, admin: Client
) -> None:
    """Apps are on this host too, and one shall not learn of the others."""
    client = api.test_client(use_cookies=False)
    assert client.get(path).status_code == 200
    assert client.get(path, environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status_code == 401
    assert client.get(path, headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer rpt_x"}).status_code == 401
    monkeypatch.setattr(peers, "owner", lambda *_: 4711)
    monkeypatch.setattr(peers, "is_app", lambda user: user == 4711)
    assert client.get(path, environ_overrides={"REMOTE_PORT": "40000"}).status_code == 401
    headers = {"Authorization": f"Bearer {admin.token}"}
    assert client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200


def test_a_token_for_one_app_does_not_see_the_host(api: Flask, blog: str, token: Callable[..., str]) -> None:
    secret, _ = auth.create_token("blog's", ["read"], None, apps=[blog])
    assert Client(api, secret).code("GET", "/metrics") == (403, "insufficient_scope")


def test_a_scrape_asks_the_database_as_often_for_many_apps_as_for_one(
    reader: Client, blog: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Else each scrape of a host with 150 apps takes half a second of its processor."""
    App.update(active_slot="a").execute()
    caplog.set_level(logging.DEBUG, "peewee")  # a record for each query
    samples(reader)
    for_one = len(caplog.records)
    assert for_one > 1
    for number in range(20):
        app = App.create(name=f"app{number}", active_slot="b", scale={"web": 2})
        for instance in (1, 2):
            port = 30000 + 4 * number + 2 * instance
            Process.create(app=app, type="web", number=instance, port_a=port, port_b=port + 1)
    caplog.clear()
    found = samples(reader)
    assert len(caplog.records) <= for_one, [record.getMessage() for record in caplog.records]
    assert found["rustploy_app_process_wanted", (("app", "app7"), ("process", "web"))] == 2
    assert found["rustploy_app_process_up", (("app", "app7"), ("process", "web"))] == 0


def test_connections_are_told_by_door(reader: Client, core: Core) -> None:
    """Else nobody is woken while one client fills a door."""
    core.metrics.connections = lambda: {"tcp": (3, 40), "ingress": (0, 0)}
    found = samples(reader)
    assert found["rustploy_connections", (("door", "tcp"),)] == 3
    assert found["rustploy_connections_ended_total", (("door", "tcp"),)] == 40
    assert found["process_open_fds", ()] > 0
