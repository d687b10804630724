"""Decide what to do with a Node app, for bin/compile and for what an import tells."""
