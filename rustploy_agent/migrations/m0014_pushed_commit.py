"""The commit that a webhook told of: its deployment brings the branch's newest commit, whichever that is by then."""

SQL = "ALTER TABLE deployment ADD COLUMN pushed_commit TEXT"
