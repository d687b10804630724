"""Domains and their certificates; what the ingress does for an app."""

SQL = """
CREATE TABLE domain (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    name TEXT NOT NULL UNIQUE,
    tls_mode TEXT NOT NULL CHECK (tls_mode IN ('managed', 'custom')),
    cert_path TEXT,
    key_path TEXT,
    certificate TEXT,
    private_key TEXT,
    redirect_to TEXT,
    created_at_unix_ms INTEGER NOT NULL,
    updated_at_unix_ms INTEGER NOT NULL
);
ALTER TABLE app ADD COLUMN ingress TEXT NOT NULL DEFAULT '{}';
ALTER TABLE app ADD COLUMN maintenance INTEGER NOT NULL DEFAULT 0;
ALTER TABLE app ADD COLUMN stopped INTEGER NOT NULL DEFAULT 0;
CREATE INDEX domain_of_app ON domain (app_id, name)
"""
