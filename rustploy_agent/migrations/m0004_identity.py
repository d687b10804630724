"""Personal and service tokens, tokens restricted to apps, sessions bound to their client, password resets."""

SQL = """
ALTER TABLE token ADD COLUMN kind TEXT NOT NULL DEFAULT 'service' CHECK (kind IN ('personal', 'service'));
ALTER TABLE token ADD COLUMN user_id TEXT REFERENCES user (id) ON DELETE CASCADE;
ALTER TABLE token ADD COLUMN apps TEXT;
CREATE INDEX token_of_user ON token (user_id);
ALTER TABLE session ADD COLUMN client TEXT;
CREATE TABLE password_reset (
    token_hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    expires_at_unix_ms INTEGER NOT NULL
);
CREATE INDEX password_reset_of_user ON password_reset (user_id)
"""
