"""What one process of an app may use, and the most that it may be given: `apps.limits` of agent.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from rustploy_agent.fields import Fields, integer

MIB = 1024 * 1024
#: Of each limit, its ceiling and itself as agent.yaml has them below apps.limits.
CEILING_KEYS = {
    "memory_max_bytes": ("max_memory_mib", "memory_max_mib"),
    "cpu_quota_percent": ("max_cpu_quota_percent", "cpu_quota_percent"),
    "tasks_max": ("max_tasks", "tasks_max"),
}


@dataclass(frozen=True)
class Limits:
    """What one process of an app may use."""

    memory_max_bytes: int
    cpu_quota_percent: int
    tasks_max: int


def parse_limits(fields: Fields) -> Limits:
    return Limits(
        memory_max_bytes=fields.optional("memory_max_mib", integer(16, 1048576), 512) * MIB,
        cpu_quota_percent=fields.optional("cpu_quota_percent", integer(1, 102400), 100),
        tasks_max=fields.optional("tasks_max", integer(4, 65536), 256),
    )


def parse_ceilings(fields: Fields, limits: Limits) -> Limits:
    """The most that the API gives one process; where the settings give each process more already, that."""
    found = Limits(
        memory_max_bytes=fields.optional(
            "max_memory_mib", integer(16, 1048576), max(4096, limits.memory_max_bytes // MIB)
        )
        * MIB,
        cpu_quota_percent=fields.optional(
            "max_cpu_quota_percent", integer(1, 102400), max(400, limits.cpu_quota_percent)
        ),
        tasks_max=fields.optional("max_tasks", integer(4, 65536), max(4096, limits.tasks_max)),
    )
    for key, (name, own) in CEILING_KEYS.items():
        if getattr(found, key) < getattr(limits, key):
            fields.problem(name, f"must be at least apps.limits.{own}")
    return found
