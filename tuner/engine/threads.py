"""How many processors this process may use."""

from __future__ import annotations

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
# Read by OpenMP when torch is loaded. Threads that wait by spinning take the processor from those
# that work, as soon as two processes share a machine.
CALM = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


def available(quota: Path = QUOTA) -> int:
    """Processors we may run on, within the container's share of them, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it, macOS does not
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        most, period = quota.read_text("ascii").split()
        return max(1, min(processors, int(most) // int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no quota
        return processors
