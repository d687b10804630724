"""What the API remembers of requests: the audit trail, answers kept for Idempotency-Key."""

SQL = """
CREATE INDEX token_by_age ON token (created_at_unix_ms, id);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_unix_ms INTEGER NOT NULL,
    last_at_unix_ms INTEGER NOT NULL,
    count INTEGER NOT NULL DEFAULT 1,
    action TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT,
    actor_name TEXT,
    app_id TEXT,
    app_name TEXT,
    deployment_id TEXT,
    address TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'repeated', 'refused', 'failed')),
    status INTEGER,
    error_code TEXT,
    request_id TEXT,
    shelf INTEGER NOT NULL
);
CREATE INDEX audit_by_shelf ON audit (shelf, id);
CREATE INDEX audit_by_app ON audit (app_id, id);
CREATE INDEX audit_by_deployment ON audit (deployment_id) WHERE deployment_id IS NOT NULL;
CREATE TABLE answer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    caller TEXT NOT NULL,
    operation TEXT NOT NULL,
    key TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    intended_id TEXT NOT NULL,
    run TEXT NOT NULL,
    status INTEGER,
    body TEXT,
    created_at_unix_ms INTEGER NOT NULL,
    UNIQUE (caller, operation, key)
);
CREATE INDEX answer_by_age ON answer (created_at_unix_ms);
CREATE INDEX answer_of_caller ON answer (caller, id)
"""
