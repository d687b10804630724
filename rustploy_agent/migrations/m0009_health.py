"""A release keeps its whole health check: its path, and those of the other options that were chosen."""

SQL = """
ALTER TABLE release ADD COLUMN health TEXT NOT NULL DEFAULT '{}';
UPDATE release SET health = json_object('path', health_path);
ALTER TABLE release DROP COLUMN health_path
"""
