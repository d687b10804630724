"""Indices by which deployments are found by their status or release, however many there were.

The status index was a partial one before. SQLite takes a partial index only for values that stand in the statement's
text, and ours are bound parameters, so it read the whole table.
"""

SQL = """
DROP INDEX deployment_open;
CREATE INDEX deployment_by_status ON deployment (status, created_at_unix_ms);
CREATE INDEX deployment_of_app_by_status ON deployment (app_id, status);
CREATE INDEX deployment_of_release ON deployment (release_id, created_at_unix_ms);
CREATE INDEX slug_by_state ON slug (state);
CREATE INDEX deliverytarget_of_deployment ON deliverytarget (deployment_id)
"""
