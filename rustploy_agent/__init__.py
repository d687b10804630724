"""Runs apps on one Debian server: REST in front, systemd behind."""

__version__ = "0.1.0"
