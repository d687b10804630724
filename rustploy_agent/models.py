"""The SQLite tables: the past and the wish. What runs now is asked from systemd, never kept here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peewee

from rustploy_agent.clock import new_id, now_ms
from rustploy_agent.migrations import migrate
from rustploy_agent.sqlite import Database

database = Database()
DatabaseError = peewee.DatabaseError
NO_ERROR = {"error_code": None, "last_error": None}
OPEN = ("queued", "deploying", "retrying")


class JSONField(peewee.TextField):  # type: ignore[misc]
    def db_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)

    def python_value(self, value: str | None) -> Any:
        return None if value is None else json.loads(value)


class Model(peewee.Model):  # type: ignore[misc]
    class Meta:
        database = database
        legacy_table_names = True


class App(Model):
    id = peewee.TextField(primary_key=True, default=new_id)
    name = peewee.TextField(unique=True)
    repository = JSONField(null=True)
    source = JSONField(null=True)
    build_mode = peewee.TextField(default="auto")
    #: What a request said of the build beside its mode: `root`.
    build = JSONField(default=dict)
    runtime = JSONField(default=dict)
    dependency_profile = JSONField(null=True)
    detection = JSONField(null=True)
    manifest = JSONField(null=True)
    limits = JSONField(default=dict)
    scale = JSONField(default=dict)
    active_slot = peewee.TextField(null=True)
    active_release_id = peewee.TextField(null=True)
    ingress = JSONField(default=dict)
    maintenance = peewee.BooleanField(default=False)
    stopped = peewee.BooleanField(default=False)
    deleting = peewee.BooleanField(default=False)
    created_at_unix_ms = peewee.IntegerField(default=now_ms)
    updated_at_unix_ms = peewee.IntegerField(default=now_ms)

    @property
    def idle_slot(self) -> str:
        return "b" if self.active_slot == "a" else "a"


class EnvVar(Model):
    app = peewee.ForeignKeyField(App, on_delete="CASCADE")
    key = peewee.TextField()
    sealed = peewee.TextField()
    #: Whether builds see it; None: if its name says that it is public (build_variables.py).
    build = peewee.BooleanField(null=True)
    updated_at_unix_ms = peewee.IntegerField(default=now_ms)


class Process(Model):
    """One instance of an app's process type and its two loopback ports (none for types that serve no HTTP)."""

    app = peewee.ForeignKeyField(App, on_delete="CASCADE")
    type = peewee.TextField()
    number = peewee.IntegerField(default=1)
    port_a = peewee.IntegerField(null=True)
    port_b = peewee.IntegerField(null=True)

    def port(self, slot: str) -> int | None:
        value: int | None = self.port_a if slot == "a" else self.port_b
        return value


class Slot(Model):
    """Which deployment a slot carries: the journal field of its units."""

    app = peewee.ForeignKeyField(App, on_delete="CASCADE")
    letter = peewee.TextField()
    deployment_id = peewee.TextField(null=True)


class Deployment(Model):
    id = peewee.TextField(primary_key=True, default=new_id)
    app = peewee.ForeignKeyField(App, on_delete="CASCADE")
    kind = peewee.TextField(default="deploy")
    source_ref = peewee.TextField(null=True)
    commit_sha = peewee.TextField(null=True)
    requested_commit = peewee.TextField(null=True)
    #: What a push had on top of the branch; the newest commit at the fetch is deployed.
    pushed_commit = peewee.TextField(null=True)
    target_release_id = peewee.TextField(null=True)
    force_rebuild = peewee.BooleanField(default=False)
    status = peewee.TextField(default="queued")
    step = peewee.TextField(null=True)
    attempt = peewee.IntegerField(default=0)
    cancel_requested = peewee.BooleanField(default=False)
    error_code = peewee.TextField(null=True)
    last_error = peewee.TextField(null=True)
    release_id = peewee.TextField(null=True)
    outcome = peewee.TextField(null=True)
    not_before_unix_ms = peewee.IntegerField(default=0)
    created_at_unix_ms = peewee.IntegerField(default=now_ms)
    updated_at_unix_ms = peewee.IntegerField(default=now_ms)
    finished_at_unix_ms = peewee.IntegerField(null=True)

    @classmethod
    def next_turn(cls, app: App) -> int:
        """Now, but later than the app's other deployments, also when two come at once or the clock was set back."""
        last: int | None = cls.select(peewee.fn.MAX(cls.created_at_unix_ms)).where(cls.app == app).scalar()
        return max(now_ms(), (last or 0) + 1)

    @classmethod
    def serving(cls, app: App) -> Deployment | None:
        """The one that started what serves; those that found nothing to change came later."""
        found: Deployment | None = (
            cls.select()
            .where(
                cls.release_id == app.active_release_id,
                cls.status == "healthy",
                cls.outcome.is_null() | (cls.outcome != "unchanged"),
            )
            .order_by(cls.created_at_unix_ms.desc())
            .first()
        )
        return found

    def move(self, old: tuple[str, ...], new: str, **changes: Any) -> bool:
        """Guarded change of state: True if the row was in one of the old states and is now in the new one."""
        now = max(now_ms(), self.created_at_unix_ms)  # a clock that was set back makes no end before its beginning
        if new in ("healthy", "failed"):
            changes.setdefault("finished_at_unix_ms", now)
        changes |= {"status": new, "updated_at_unix_ms": now}
        changed = Deployment.update(**changes).where(Deployment.id == self.id, Deployment.status.in_(old)).execute()
        if changed:
            self.__data__.update(changes)
        return bool(changed)


class Slug(Model):
    """The output of one build: commands by process type, its commit's rustploy.yaml, older slugs that it links to."""

    id = peewee.TextField(primary_key=True, default=new_id)
    app = peewee.ForeignKeyField(App, on_delete="CASCADE")
    commit_sha = peewee.TextField(null=True)
    build_mode = peewee.TextField()
    #: The directory of the commit that was built and runs; empty: its top.
    root = peewee.TextField(default="")
    #: Which variables the build saw (build_variables.identity).
    build_variables = peewee.TextField(default="")
    buildpack = peewee.TextField(null=True)
    processes = JSONField(default=dict)
    manifest = JSONField(null=True)
    needs = JSONField(default=list)
    stack = peewee.TextField(default="")
    runtimes = JSONField(default=dict)
    bytes = peewee.IntegerField(default=0)
    state = peewee.TextField(default="building")
    created_at_unix_ms = peewee.IntegerField(default=now_ms)


class Release(Model):
    """A slug with the configuration it runs with. Rows are never changed but for the time it became healthy."""

    id = peewee.TextField(primary_key=True, default=new_id)
    app = peewee.ForeignKeyField(App, on_delete="CASCADE")
    version = peewee.IntegerField()
    slug = peewee.ForeignKeyField(Slug)
    commit_sha = peewee.TextField(null=True)
    sealed_env = peewee.TextField()
    processes = JSONField()
    health = JSONField()
    release_command = peewee.TextField(null=True)
    healthy_at_unix_ms = peewee.IntegerField(null=True)
    created_at_unix_ms = peewee.IntegerField(default=now_ms)


class Domain(Model):
    """A host name of an app. `certificate` and the sealed `private_key` are there when they were uploaded."""

    id = peewee.TextField(primary_key=True, default=new_id)
    app = peewee.ForeignKeyField(App, on_delete="CASCADE")
    name = peewee.TextField(unique=True)
    tls_mode = peewee.TextField(default="managed")
    cert_path = peewee.TextField(null=True)
    key_path = peewee.TextField(null=True)
    certificate = peewee.TextField(null=True)
    private_key = peewee.TextField(null=True)
    redirect_to = peewee.TextField(null=True)
    created_at_unix_ms = peewee.IntegerField(default=now_ms)
    updated_at_unix_ms = peewee.IntegerField(default=now_ms)


class User(Model):
    id = peewee.TextField(primary_key=True, default=new_id)
    email = peewee.TextField(unique=True)
    password_hash = peewee.TextField()
    role = peewee.TextField(default="admin")
    created_at_unix_ms = peewee.IntegerField(default=now_ms)


class Session(Model):
    id = peewee.TextField(primary_key=True, default=new_id)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    secret_hash = peewee.TextField(unique=True)
    #: The only client that may use it; None when the cookie goes over TLS alone.
    client = peewee.TextField(null=True)
    created_at_unix_ms = peewee.IntegerField(default=now_ms)
    expires_at_unix_ms = peewee.IntegerField()


class PasswordReset(Model):
    token_hash = peewee.TextField(primary_key=True)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    expires_at_unix_ms = peewee.IntegerField()

    class Meta:
        table_name = "password_reset"


class Token(Model):
    """A `personal` one is its user's and goes with the user; a `service` one is nobody's.

    `apps`: the ids of the only apps it is for; None is all.
    """

    id = peewee.TextField(primary_key=True, default=new_id)
    name = peewee.TextField()
    token_hash = peewee.TextField(unique=True)
    scopes = JSONField()
    kind = peewee.TextField(default="service")
    user = peewee.ForeignKeyField(User, null=True, on_delete="CASCADE")
    apps = JSONField(null=True)
    created_at_unix_ms = peewee.IntegerField(default=now_ms)
    expires_at_unix_ms = peewee.IntegerField(null=True)
    revoked_at_unix_ms = peewee.IntegerField(null=True)
    last_used_at_unix_ms = peewee.IntegerField(null=True)


class Connection(Model):
    """An app and the repository of a git host whose pushes are deployed; `repository` is owner/repo in lower case."""

    app = peewee.ForeignKeyField(App, on_delete="CASCADE")
    provider = peewee.TextField()
    owner = peewee.TextField()
    repo = peewee.TextField()
    repository = peewee.TextField()
    branch = peewee.TextField(null=True)
    installation_id = peewee.IntegerField(null=True)
    sealed_secret = peewee.TextField(null=True)
    updated_at_unix_ms = peewee.IntegerField(default=now_ms)


class HostSecret(Model):
    """The secret of a git host for all its repositories."""

    provider = peewee.TextField(primary_key=True)
    sealed = peewee.TextField()
    updated_at_unix_ms = peewee.IntegerField(default=now_ms)


class Meta(Model):
    key = peewee.TextField(primary_key=True)
    value = peewee.TextField()


def connect(path: Path) -> None:
    """A commit is on disk when it returns: FULL, not NORMAL, which loses commits at a power cut."""
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000, "secure_delete": 1}
    pragmas["cache_size"] = -512  # KiB for each connection
    database.init(str(path), pragmas=pragmas)
    database.connect(reuse_if_open=True)


def rest() -> None:
    """This thread's connection is for others until it is used again: each keeps half a megabyte."""
    if not database.is_closed() and not database.in_transaction():
        database.close()


def open_database(path: Path) -> None:
    connect(path)
    migrate(database)


def forget_old_bytes() -> None:
    """What was changed is overwritten in the database's file, and the log beside it holds nothing any more."""
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
