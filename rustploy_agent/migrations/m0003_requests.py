"""What the API remembers of requests: the audit trail, answers kept for Idempotency-Key."""

SQL = """
CREATE INDEX token_by_age ON token (created_at_unix_ms, id)
"""
