"""How many instances an app's process types have; a row of `process` is one of them."""

SQL = """
ALTER TABLE app ADD COLUMN scale TEXT NOT NULL DEFAULT '{}';
CREATE TABLE process_instance (
    id INTEGER PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    number INTEGER NOT NULL DEFAULT 1 CHECK (number BETWEEN 1 AND 16),
    port_a INTEGER UNIQUE,
    port_b INTEGER UNIQUE,
    UNIQUE (app_id, type, number)
);
INSERT INTO process_instance (id, app_id, type, port_a, port_b) SELECT id, app_id, type, port_a, port_b FROM process;
DROP TABLE process;
ALTER TABLE process_instance RENAME TO process
"""
