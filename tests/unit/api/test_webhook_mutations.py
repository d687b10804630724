"""Ten thousand deliveries that are nearly right: none is believed, breaks anything or leaves anything behind."""

from __future__ import annotations

import gc
import random
import sys
from collections import Counter

import pytest
from flask import Flask

from rustploy_agent.models import Deployment
from rustploy_agent.records import Delivery
from rustploy_agent.webhooks import PROVIDERS
from tests.githost import GitHost, bent, header
from tests.unit.api.conftest import Client

#: For each of the three hosts.
MUTATIONS = 3_400
#: Blocks of memory that there may be more at the end; one that is kept of each would be three thousand.
GROWTH = 1_000


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_none_of_ten_thousand_mutations_is_accepted(name: str, admin: Client, blog: str, api: Flask) -> None:
    """A body under another's signature, a signature for another's body, either of them cut, doubled or turned."""
    admin("PUT", f"/integrations/{name}/secret", {"secret": "a-secret-of-the-host"})
    admin("POST", f"/apps/blog/{name}", {"owner": "anna", "repo": "blog", "secret": "a-secret-of-the-app"})
    host, chance = GitHost(admin, name, secret="a-secret-of-the-app"), random.Random(name)
    proof, path = PROVIDERS[name].proof, f"/api/v1/integrations/{name}/webhook"
    right, seen = host.push(), Counter[int]()
    headers = host.headers(right)
    signs_body = name != "gitlab"
    with api.test_client(use_cookies=False) as client:
        for number in range(MUTATIONS):
            if number == 300:  # caches are warm
                before = blocks()
            body, sent = right, dict(headers)
            if signs_body and number % 2:
                body = bent(chance, right)
            else:
                sent[proof] = header(bent(chance, headers[proof].encode()))
            if sent[proof] == headers[proof] and body == right:
                continue  # what was put in does not go over the wire
            seen[client.post(path, data=body, headers=sent).status_code] += 1
    grown = blocks() - before
    assert set(seen) == {401} and seen[401] > 0.98 * MUTATIONS, seen
    assert Deployment.select().count() == 0
    assert Delivery.select().where(Delivery.valid).count() == 0 and Delivery.select().count() <= 2
    assert grown < GROWTH, f"{grown} blocks more"
    assert host.counts(right) == (1, 1), "the one that is right still is"
