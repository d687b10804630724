"""Domains and their certificates; what the ingress does for an app."""

SQL = ""
