"""Apps connected to repositories of a git host, their webhook secrets, and the deliveries that came."""

SQL = """
CREATE TABLE connection (
    id INTEGER PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    owner TEXT NOT NULL,
    repo TEXT NOT NULL,
    repository TEXT NOT NULL,
    branch TEXT,
    installation_id INTEGER,
    sealed_secret TEXT,
    updated_at_unix_ms INTEGER NOT NULL,
    UNIQUE (app_id, provider)
);
CREATE INDEX connection_of_repository ON connection (provider, repository);
CREATE TABLE hostsecret (
    provider TEXT PRIMARY KEY,
    sealed TEXT NOT NULL,
    updated_at_unix_ms INTEGER NOT NULL
);
CREATE TABLE delivery (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    valid INTEGER NOT NULL,
    event TEXT,
    delivery_id TEXT,
    proof_sha256 TEXT,
    repository TEXT,
    branch TEXT,
    commit_sha TEXT,
    reason TEXT,
    times INTEGER NOT NULL DEFAULT 1,
    created_at_unix_ms INTEGER NOT NULL,
    last_at_unix_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX delivery_by_id ON delivery (provider, delivery_id) WHERE valid AND delivery_id IS NOT NULL;
CREATE UNIQUE INDEX delivery_by_proof ON delivery (provider, proof_sha256) WHERE valid AND proof_sha256 IS NOT NULL;
CREATE INDEX delivery_by_time ON delivery (valid, created_at_unix_ms);
CREATE TABLE deliverytarget (
    id INTEGER PRIMARY KEY,
    delivery_id TEXT NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    app_id TEXT NOT NULL,
    deployment_id TEXT,
    reason TEXT,
    UNIQUE (delivery_id, app_id)
);
CREATE INDEX deliverytarget_of_app ON deliverytarget (app_id)
"""
