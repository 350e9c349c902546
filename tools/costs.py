"""What running a notebook costs, read from its kernel's process, and what it may cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Cost:
    """Seconds since a kernel started, and the most memory it has held, in megabytes."""

    seconds: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.megabytes:.0f} MB"


BUDGET = Cost(seconds=120, megabytes=700)


def over_budget(cost: Cost) -> list[str]:
    """What is too much about a cost, one sentence for each; an empty list when it is within the budget."""
    too_much = []
    if cost.seconds > BUDGET.seconds:
        too_much.append(f"it ran for {cost.seconds:.0f} s where {BUDGET.seconds} s are allowed: "
                        "train less, or start from a checkpoint")
    if cost.megabytes > BUDGET.megabytes:
        too_much.append(f"its kernel held {cost.megabytes:.0f} MB where {BUDGET.megabytes} MB are allowed: "
                        "keep fewer models and batches alive")
    return too_much


def cost_of(pid: int) -> Cost:
    """What a running process has cost so far.

    Linux keeps the most memory that a process ever held. Elsewhere it is what the process holds now.
    """
    process = psutil.Process(pid)
    return Cost(time.time() - process.create_time(), _peak_bytes(process) / 1e6)


def _peak_bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return process.memory_info().rss
