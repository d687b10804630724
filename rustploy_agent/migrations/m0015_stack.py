"""The Debian that a slug was built for, and the versions of the host's interpreters that it uses."""

SQL = """
ALTER TABLE slug ADD COLUMN stack TEXT NOT NULL DEFAULT '';
ALTER TABLE slug ADD COLUMN runtimes TEXT NOT NULL DEFAULT '{}'
"""
