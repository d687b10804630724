"""What an entry of the audit trail was about, where no app or deployment says it."""

SQL = """
ALTER TABLE audit ADD COLUMN subject TEXT
"""
