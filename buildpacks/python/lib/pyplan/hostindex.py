"""The package index that root has set up for pip, as variables that uv goes by."""

from __future__ import annotations

import configparser
import os
import shlex
import sys

#: In the order in which pip reads them; a later one holds.
FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf")
#: Where root can say the same to uv itself; then pip's settings are not needed.
OWN = "/etc/uv/uv.toml"
VARIABLES = (
    ("index-url", "UV_DEFAULT_INDEX"),
    ("extra-index-url", "UV_INDEX"),
    ("find-links", "UV_FIND_LINKS"),
    ("trusted-host", "UV_INSECURE_HOST"),
    ("cert", "SSL_CERT_FILE"),
)


def run() -> None:
    found = {} if os.path.exists(OWN) else variables(FILES)
    sys.stdout.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in found.items()))


def variables(files: tuple[str, ...]) -> dict[str, str]:
    """Names and values; lists are separated as each variable wants it."""
    settings: dict[str, str] = {}
    parser = configparser.RawConfigParser()
    for file in files:
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, ValueError):
            continue
    for section in ("global", "install"):
        if parser.has_section(section):
            settings |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    found = {
        variable: " ".join(settings[name].split()) for name, variable in VARIABLES if settings.get(name, "").strip()
    }
    if "UV_FIND_LINKS" in found:
        found["UV_FIND_LINKS"] = found["UV_FIND_LINKS"].replace(" ", ",")
    if settings.get("no-index", "").strip().lower() in ("1", "true", "yes", "on"):
        found["UV_NO_INDEX"] = "1"
    return found
