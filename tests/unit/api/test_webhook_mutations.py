"""Ten thousand deliveries that are nearly right: none is believed, breaks anything or leaves anything behind."""

from __future__ import annotations

import gc
import random
import sys
from collections import Counter

import pytest
from flask import Flask

from rustploy_agent.models import Delivery, Deployment
from rustploy_agent.webhooks import PROVIDERS
from tests.unit.api.conftest import Client
from tests.unit.api.githost import GitHost

#: For each of the three hosts.
MUTATIONS = 3_400
#: Blocks of memory that there may be more at the end; one that is kept of each would be three thousand.
GROWTH = 1_000


def bent(random: random.Random, data: bytes) -> bytes:
    """One to three bytes changed, put in, taken out, or a piece doubled or cut off; never what it was."""
    found = bytearray(data)
    while bytes(found) == data:
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(found) + 1)
            match random.randrange(5):
                case 0:
                    found[at : at + 1] = random.randbytes(1)
                case 1:
                    found[at:at] = random.randbytes(random.randint(1, 8))
                case 2:
                    del found[at : at + random.randint(1, 8)]
                case 3:
                    found[at:at] = found[at : at + 50]
                case _:
                    del found[at:]
    return bytes(found)


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def header(value: bytes) -> str:
    """As a server hands it on: any byte but those that would end the line. A server strips what is around."""
    return bytes(byte for byte in value if byte not in b"\r\n\0").decode("latin-1").strip(" \t")


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_none_of_ten_thousand_mutations_is_accepted(name: str, admin: Client, blog: str, api: Flask) -> None:
    """A body under another's signature, a signature for another's body, either of them cut, doubled or turned."""
    admin("PUT", f"/integrations/{name}/secret", {"secret": "a-secret-of-the-host"})
    admin("POST", f"/apps/blog/{name}", {"owner": "anna", "repo": "blog", "secret": "a-secret-of-the-app"})
    host, chance = GitHost(admin, name), random.Random(name)
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
