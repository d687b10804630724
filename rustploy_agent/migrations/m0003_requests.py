"""What the API remembers of requests: the audit trail, answers kept for Idempotency-Key."""

SQL = ""
