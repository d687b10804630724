"""Apps that are one directory of a larger repository."""

SQL = """
ALTER TABLE app ADD COLUMN build TEXT NOT NULL DEFAULT '{}';
ALTER TABLE slug ADD COLUMN root TEXT NOT NULL DEFAULT ''
"""
