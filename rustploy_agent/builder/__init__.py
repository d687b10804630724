"""The programs of the fetch and build units: strangers' code in a sandbox, which the agent meets in files only."""
