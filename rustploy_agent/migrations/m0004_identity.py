"""Personal and service tokens, tokens restricted to apps, password resets."""

SQL = ""
