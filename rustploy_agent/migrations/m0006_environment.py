"""Environment values are sealed (environment.prepare does it, for it needs the key)."""

SQL = """
ALTER TABLE envvar RENAME COLUMN value TO sealed;
ALTER TABLE release RENAME COLUMN env TO sealed_env
"""
