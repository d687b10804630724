"""Apps, environment, deployments, slugs, releases, tokens, users."""

SQL = """
CREATE TABLE app (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    repository TEXT,
    source TEXT,
    build_mode TEXT NOT NULL DEFAULT 'auto',
    runtime TEXT NOT NULL DEFAULT '{}',
    dependency_profile TEXT,
    detection TEXT,
    manifest TEXT,
    limits TEXT NOT NULL DEFAULT '{}',
    active_slot TEXT CHECK (active_slot IN ('a', 'b')),
    active_release_id TEXT,
    deleting INTEGER NOT NULL DEFAULT 0,
    created_at_unix_ms INTEGER NOT NULL,
    updated_at_unix_ms INTEGER NOT NULL
);
CREATE TABLE envvar (
    id INTEGER PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    updated_at_unix_ms INTEGER NOT NULL,
    UNIQUE (app_id, key)
);
CREATE TABLE process (
    id INTEGER PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    port_a INTEGER UNIQUE,
    port_b INTEGER UNIQUE,
    UNIQUE (app_id, type)
);
CREATE TABLE slot (
    id INTEGER PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    letter TEXT NOT NULL CHECK (letter IN ('a', 'b')),
    deployment_id TEXT,
    UNIQUE (app_id, letter)
);
CREATE TABLE deployment (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('deploy', 'rollback')),
    source_ref TEXT,
    commit_sha TEXT,
    requested_commit TEXT,
    target_release_id TEXT,
    force_rebuild INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL CHECK (status IN ('queued', 'deploying', 'retrying', 'healthy', 'failed')),
    step TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    error_code TEXT,
    last_error TEXT,
    release_id TEXT,
    not_before_unix_ms INTEGER NOT NULL DEFAULT 0,
    created_at_unix_ms INTEGER NOT NULL,
    updated_at_unix_ms INTEGER NOT NULL,
    finished_at_unix_ms INTEGER
);
CREATE INDEX deployment_of_app ON deployment (app_id, created_at_unix_ms DESC, id DESC);
CREATE INDEX deployment_open ON deployment (status, created_at_unix_ms)
    WHERE status IN ('queued', 'deploying', 'retrying');
CREATE TABLE slug (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    commit_sha TEXT,
    build_mode TEXT NOT NULL,
    buildpack TEXT,
    processes TEXT NOT NULL DEFAULT '{}',
    manifest TEXT,
    needs TEXT NOT NULL DEFAULT '[]',
    bytes INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL CHECK (state IN ('building', 'ready', 'removing')),
    created_at_unix_ms INTEGER NOT NULL
);
CREATE INDEX slug_of_app ON slug (app_id, state, commit_sha);
CREATE TABLE release (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    slug_id TEXT NOT NULL,
    commit_sha TEXT,
    env TEXT NOT NULL,
    processes TEXT NOT NULL,
    health_path TEXT NOT NULL,
    release_command TEXT,
    healthy_at_unix_ms INTEGER,
    created_at_unix_ms INTEGER NOT NULL,
    UNIQUE (app_id, version)
);
CREATE TABLE user (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at_unix_ms INTEGER NOT NULL
);
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at_unix_ms INTEGER NOT NULL,
    expires_at_unix_ms INTEGER,
    revoked_at_unix_ms INTEGER,
    last_used_at_unix_ms INTEGER
);
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
)
"""
