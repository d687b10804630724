"""Environment values are sealed (environment.prepare does it, for it needs the key); what a deployment came to."""

SQL = """
ALTER TABLE envvar RENAME COLUMN value TO sealed;
ALTER TABLE release RENAME COLUMN env TO sealed_env;
ALTER TABLE deployment ADD COLUMN outcome TEXT CHECK (outcome IN ('released', 'restarted', 'unchanged'))
"""
