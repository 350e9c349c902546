"""What this machine is, and what training on it costs: device, threads, seeds, time and memory."""

from __future__ import annotations

import math
import operator
import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

SMALL_MODEL = 5_000_000  # parameters; below this, a second thread costs more than it brings


def device(prefer: torch.device | str | None = None) -> torch.device:
    """The device to train on: CUDA, else MPS, else CPU.

    ``prefer`` names one ("cpu", "cuda", "mps"), or is "meta", where tensors have shapes and no numbers.
    RuntimeError if this machine does not have it.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if prefer is None:
        return torch.device(next(name for name, there in available.items() if there))
    kind = str(prefer).partition(":")[0]
    if kind != "meta" and not available.get(kind, False):
        have = ", ".join(name for name, there in available.items() if there)
        raise RuntimeError(f"no {kind} device on this machine: choose one of {have}")
    return torch.device(prefer)


def cpu_quota() -> float:
    """How many CPU cores this process may really use.

    The least of the machine's cores, the process's affinity, and a container's quota (cgroup v1 and v2).
    Binder, for one, shows many cores and grants one.
    """
    cores = [float(os.cpu_count() or 1)]
    if hasattr(os, "sched_getaffinity"):
        cores.append(float(len(os.sched_getaffinity(0))))
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return min(cores + ([quota] if quota else []))


def _cgroup_quota(root: Path) -> float | None:
    """Cores granted by the control group at ``root``; None without a limit or where it cannot be read."""
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text()
            period = (root / "cpu/cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no control group, or "max": no limit
        return None


def choose_threads(parameters: int) -> int:
    """Threads that torch should use for a model with this many parameters.

    One for this course's small models: their operations last microseconds, and on a busy machine a second
    thread mostly waits. Larger models get the whole cores of the quota.
    """
    return 1 if parameters < SMALL_MODEL else max(1, math.floor(cpu_quota()))


def use_threads(parameters: int) -> int:
    """Set torch's threads for a model of this size, in this process; returns the number set."""
    threads = choose_threads(parameters)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return threads


def generator(seed: int, on: torch.device | str = "cpu") -> torch.Generator:
    """A fresh random generator with this seed. Nothing in the course uses torch's global one."""
    number = operator.index(seed) if hasattr(seed, "__index__") and not isinstance(seed, bool) else -1
    if not 0 <= number < 2**63:
        raise ValueError(f"seed {seed!r}: expected a whole number from 0 to 2**63 - 1")
    return torch.Generator(device=on).manual_seed(number)


def memory_available() -> int:
    """Bytes of memory this process may still take: the machine's free memory, or the container's rest."""
    free = psutil.virtual_memory().available
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no container, or no limit in it
        return free
    return max(0, min(free, limit - used))


def memory_used() -> int:
    """Bytes of memory that this process holds now."""
    return psutil.Process().memory_info().rss


@dataclass(frozen=True)
class Machine:
    """What a learner's machine offers, and what this means for the course."""

    device: str
    device_name: str
    cores: float
    memory: int  # bytes available now

    def __str__(self) -> str:
        where = self.device_name if self.device != "cpu" else f"{self.cores:g} CPU cores"
        return f"{where}, {readable_bytes(self.memory)} of memory free"


def machine() -> Machine:
    """Describe this machine."""
    here = device()
    name = torch.cuda.get_device_name(here) if here.type == "cuda" else here.type.upper()
    return Machine(here.type, name, cpu_quota(), memory_available())


def readable_bytes(count: float) -> str:
    """``12_600_000`` as ``12.6 MB`` (decimal units)."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def readable_seconds(seconds: float) -> str:
    """``75.2`` as ``1 min 15 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
