"""Variables that builds see, and with which of them a slug was built."""

SQL = """
ALTER TABLE envvar ADD COLUMN build INTEGER CHECK (build IN (0, 1));
ALTER TABLE slug ADD COLUMN build_variables TEXT NOT NULL DEFAULT ''
"""
