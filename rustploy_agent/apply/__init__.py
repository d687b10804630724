"""Root's only program: renders the users, directories and units of the apps that the agent wishes for.

It reads agent/desired.json as untrusted input and refuses what does not keep to docs/architecture.md, each app on its
own; a file that is wrong as a whole it refuses as a whole, with exit status 1. Killed at any point, the next run
completes it. Standard library only, nothing else of this package, and nothing that is slow to load: every deployment
waits for this program.
"""
