"""Environment values encrypted at rest."""

SQL = ""
