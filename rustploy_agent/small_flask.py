"""Flask without its command line, templates, development server and test client."""

from __future__ import annotations

from rustploy_agent import lean

#: TLS is of use for mail and to look at certificates, which import it then; http.client takes it along with itself.
WITHOUT = ("click", "flask.cli", "jinja2", "jinja2.loaders", "werkzeug.serving", "werkzeug.test", "ssl")
#: OpenSSL's hashes; Python's own will do for tokens.
ABSENT = ("_hashlib",)


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
