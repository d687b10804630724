"""/openapi.yaml, /openapi.json and /docs: the contract and a page to read it. The package's build made all three."""

from __future__ import annotations

import base64
import hashlib
import re

from flask import Response, request

from rustploy_agent.api.resource import ANYBODY, Resource, core

resource = Resource("reference", __name__)
STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


@resource.route("/openapi.yaml", scope=ANYBODY)
def openapi_yaml() -> Response:
    return _file("openapi.yaml", "application/yaml")


@resource.route("/openapi.json", scope=ANYBODY)
def openapi_json() -> Response:
    return _file("openapi.json", "application/json")


@resource.route("/docs", scope=ANYBODY)
def docs() -> Response:
    """The page may load nothing, run nothing, send nothing and be framed by nobody; only its own style applies."""
    response = _file("reference.html", "text/html; charset=utf-8")
    styles = [base64.b64encode(hashlib.sha256(css).digest()).decode() for css in STYLE.findall(response.get_data())]
    allowed = " ".join(f"'sha256-{digest}'" for digest in styles) or "'none'"
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return response


def _file(name: str, content_type: str) -> Response:
    """Read each time: it is asked for rarely, and the agent's memory is dear."""
    response = Response((core().settings.paths.share / name).read_bytes(), content_type=content_type)
    response.add_etag()
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.make_conditional(request)
    return response
