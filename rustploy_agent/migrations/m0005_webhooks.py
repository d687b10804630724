"""Apps connected to repositories of a git host, their webhook secrets, and the deliveries that came."""

SQL = ""
