"""Flask without its command line, templates, development server and test client."""

from __future__ import annotations

from rustploy_agent import lean

WITHOUT = ("click", "flask.cli", "jinja2", "jinja2.loaders", "werkzeug.serving", "werkzeug.test")
#: OpenSSL, which http.client and hashlib take where it is there. Who needs TLS later, for mail or to look at a
#: certificate, gets it; the hashes that the agent needs are Python's own.
ABSENT = ("ssl", "_hashlib")


def load() -> None:
    """Before anything else imports Flask, and while there is one thread."""
    lean.use("Flask", _answer_once, WITHOUT, ABSENT)


def _answer_once() -> None:
    import flask

    resource, app = flask.Blueprint("probe", __name__), flask.Flask(__name__, static_folder=None)
    resource.add_url_rule("/", view_func=dict)
    app.register_blueprint(resource)
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "SERVER_NAME": "",
        "SERVER_PORT": "0",
        "wsgi.url_scheme": "http",
    }
    b"".join(app(environ, lambda *_: None))
