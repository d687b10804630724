"""Decides how a Python repository is built and started, for imports and builds alike: looks at files, runs nothing."""
