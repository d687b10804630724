"""Sessions of people who log in with a password."""

SQL = """
CREATE TABLE session (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    secret_hash TEXT NOT NULL UNIQUE,
    created_at_unix_ms INTEGER NOT NULL,
    expires_at_unix_ms INTEGER NOT NULL
);
CREATE INDEX session_of_user ON session (user_id)
"""
