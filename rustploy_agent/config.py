"""Settings from /etc/rustploy/agent.yaml: parsed once, frozen; a wrong or unknown key stops the start by name.

docs/configuration.md describes every key; a test holds it, packaging/agent.yaml and this module together.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rustploy_agent import outgoing
from rustploy_agent.confinement import Confinement
from rustploy_agent.confinement import parse as parse_confinement
from rustploy_agent.errors import AgentError
from rustploy_agent.fields import Fields, absolute_path, boolean, integer, one_of, text
from rustploy_agent.limits import Limits, parse_ceilings, parse_limits
from rustploy_agent.mail import Mail
from rustploy_agent.mail import parse as parse_mail
from rustploy_agent.names import domain, email, url_schemes

CONFIG_FILE = Path("/etc/rustploy/agent.yaml")
MIB = 1024 * 1024
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class ConfigError(AgentError):
    code = "invalid_config"


@dataclass(frozen=True)
class Paths:
    """Where things lie on disk; docs/architecture.md has the table."""

    state: Path = Path("/var/lib/rustploy")
    library: Path = Path("/usr/lib/rustploy-agent")
    share: Path = Path("/usr/share/rustploy-agent")
    run: Path = Path("/run")

    @property
    def database(self) -> Path:
        return self.state / "agent" / "rustploy.db"

    @property
    def vault_key(self) -> Path:
        """Apart from the database, so that a copy of that directory tells no secret."""
        return self.state / "key" / "vault.key"

    @property
    def ballast(self) -> Path:
        return self.state / "agent" / "ballast"

    @property
    def desired(self) -> Path:
        return self.state / "agent" / "desired.json"

    @property
    def sites(self) -> Path:
        """What the ingress was told of each app, should the database be lost; with keys of certificates."""
        return self.routes / "sites.json"

    @property
    def apply_result(self) -> Path:
        return self.state / "apply" / "result.json"

    @property
    def ceilings(self) -> Path:
        """What apply goes by, in a directory that only root writes."""
        return self.state / "apply" / "ceilings.json"

    @property
    def routes(self) -> Path:
        """Marks and configuration for the ingress, which reads them without the agent."""
        return self.state / "routes"

    @property
    def ingress_socket(self) -> Path:
        return self.run / "rustploy-ingress" / "admin.sock"

    @property
    def api_socket(self) -> Path:
        """Where the agent listens for the ingress, and nobody else can enter."""
        return self.run / "rustploy-api" / "socket"

    @property
    def buildpacks(self) -> Path:
        return self.library / "buildpacks"

    def app(self, name: str) -> Path:
        return self.state / "apps" / name

    def slug(self, app: str, slug_id: str) -> Path:
        return self.app(app) / "slugs" / slug_id


@dataclass(frozen=True)
class Timeouts:
    """Deadlines of a deployment's steps, in seconds."""

    fetch: int
    build: int
    release: int
    health: int
    drain: int


@dataclass(frozen=True)
class History:
    """Ended deployments that stay listed: the newest `keep` of each app, and all younger than `days`."""

    keep: int
    days: int


@dataclass(frozen=True)
class Ingress:
    """Where Caddy listens, for which names, and who signs their certificates."""

    enabled: bool
    addresses: tuple[str, ...]
    http_port: int
    https_port: int
    base_domain: str | None
    max_body_bytes: int
    timeout_seconds: int
    tls: str
    acme_directory: str
    acme_email: str | None
    acme_ca_root: str | None


@dataclass(frozen=True)
class Settings:
    listen_address: str
    listen_port: int
    threads: int
    streams: int
    waiting: int
    connections: int
    concurrency: int
    attempts: int
    standby_minutes: int
    history: History
    timeouts: Timeouts
    schemes: tuple[str, ...]
    file_root: str | None
    source_hosts: tuple[str, ...]
    source_max_bytes: int
    first_port: int
    last_port: int
    limits: Limits
    ceilings: Limits
    keep_releases: int
    keep_bytes: int
    min_free_bytes: int
    admin_email: str
    ingress: Ingress
    api_domain: str | None
    mail: Mail | None
    confinement: Confinement
    paths: Paths = field(default_factory=Paths)


def parse(document: object, source: str = str(CONFIG_FILE)) -> Settings:
    """Settings from a parsed YAML document (None: all defaults)."""
    fields = Fields({} if document is None else document)
    listen, deployments, source_fields = fields.object("listen"), fields.object("deployments"), fields.object("source")
    apps = fields.object("apps")
    ports, limits = apps.object("ports"), apps.object("limits")
    releases, disk, admin = fields.object("releases"), fields.object("disk"), fields.object("admin")
    own_limits = parse_limits(limits)
    settings = Settings(
        listen_address=listen.optional("address", _address, "127.0.0.1"),
        listen_port=listen.optional("port", integer(1, 65535), 8080),
        **_capacity(listen),
        concurrency=deployments.optional("concurrency", integer(1, 32), 2),
        attempts=deployments.optional("attempts", integer(1, 10), 3),
        standby_minutes=deployments.optional("standby_minutes", integer(0, 60), 10),
        history=_history(deployments.object("history")),
        timeouts=_timeouts(deployments.object("timeouts")),
        schemes=source_fields.optional("schemes", url_schemes, ("https", "ssh")),
        file_root=source_fields.maybe("file_root", absolute_path),
        source_hosts=source_fields.optional("hosts", outgoing.allowed_hosts, ()),
        source_max_bytes=source_fields.optional("max_mib", integer(1, 65536), 512) * MIB,
        first_port=ports.optional("first", integer(1024, 65535), 20000),
        last_port=ports.optional("last", integer(1024, 65535), 29999),
        limits=own_limits,
        ceilings=parse_ceilings(limits, own_limits),
        keep_releases=releases.optional("keep", integer(1, 100), 5),
        keep_bytes=releases.optional("keep_mib", integer(16, 1048576), 4096) * MIB,
        min_free_bytes=disk.optional("min_free_mib", integer(0, 1048576), 512) * MIB,
        admin_email=admin.optional("email", email, "admin@localhost"),
        ingress=_ingress(fields.object("ingress")),
        api_domain=fields.object("api").maybe("domain", _host),
        mail=parse_mail(fields.object("mail")),
        confinement=parse_confinement(listen, apps, fields.object("builds")),
    )
    if settings.first_port >= settings.last_port:
        ports.problem("last", "must be greater than apps.ports.first")
    if "file" in settings.schemes and settings.file_root is None:
        source_fields.problem("file_root", "must name a directory when source.schemes has file")
    problems = fields.finish()
    if problems:
        raise ConfigError(
            f"{source}: " + "; ".join(f"{detail.field or 'file'} {detail.message}" for detail in problems)
        )
    return settings


def _timeouts(fields: Fields) -> Timeouts:
    return Timeouts(
        fetch=fields.optional("fetch_seconds", integer(1, 3600), 120),
        build=fields.optional("build_seconds", integer(1, 3600), 900),
        release=fields.optional("release_seconds", integer(1, 3600), 300),
        health=fields.optional("health_seconds", integer(1, 3600), 60),
        drain=fields.optional("drain_seconds", integer(0, 3600), 30),
    )


def _history(fields: Fields) -> History:
    return History(
        keep=fields.optional("keep", integer(10, 10_000), 200), days=fields.optional("days", integer(1, 3650), 30)
    )


def _capacity(listen: Fields) -> dict[str, Any]:
    ranges = {"threads": (4, 512, 16), "streams": (0, 512, 64), "waiting": (0, 512, 64), "connections": (16, 2000, 400)}
    return {key: listen.optional(key, integer(least, most), usual) for key, (least, most, usual) in ranges.items()}


def _ingress(fields: Fields) -> Ingress:
    limits, acme = fields.object("limits"), fields.object("acme")
    found = Ingress(
        enabled=fields.optional("enabled", boolean, True),
        addresses=fields.optional("addresses", _addresses, ("",)),
        http_port=fields.optional("http_port", integer(1, 65535), 80),
        https_port=fields.optional("https_port", integer(1, 65535), 443),
        base_domain=fields.maybe("base_domain", _host),
        max_body_bytes=limits.optional("max_body_mib", integer(1, 1048576), 100) * MIB,
        timeout_seconds=limits.optional("timeout_seconds", integer(1, 86400), 300),
        tls=fields.optional("tls", one_of("acme", "internal", "off"), "acme"),
        acme_directory=acme.optional("directory", _https, LETS_ENCRYPT),
        acme_email=acme.maybe("email", email),
        acme_ca_root=acme.maybe("ca_root", absolute_path),
    )
    if found.http_port == found.https_port:
        fields.problem("https_port", "must be another than ingress.http_port")
    return found


def load(path: Path = CONFIG_FILE) -> Settings:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: is missing; reinstall the package or create it, an empty file takes all defaults"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; run it as root") from None
    except Exception as error:  # PyYAML raises nearly anything for a value that does not fit its tag
        raise ConfigError(f"{path}: is not valid YAML: {error}") from None
    return parse(document, str(path))


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError("must be an IP address such as 127.0.0.1") from None


def _addresses(value: object) -> tuple[str, ...]:
    """Empty: all addresses of the host."""
    if not isinstance(value, list):
        raise ValueError("must be a list of IP addresses, empty for all")
    return tuple(_address(one) for one in value) or ("",)


def _host(value: object) -> str:
    name = domain(value)
    if name.startswith("*."):
        raise ValueError("must be one name, without *")
    return name


def _https(value: object) -> str:
    url = text(value)
    if not url.startswith("https://"):
        raise ValueError("must be an https URL")
    return url
