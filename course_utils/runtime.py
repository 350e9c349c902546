"""What this machine is, and what training on it costs: device, threads, seeds, time and memory."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from course_utils.values import seed_of

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
    quotas = [_quota(group) for group in _control_groups("cpu")]
    return min(cores + [quota for quota in quotas if quota])


CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _control_groups(controller: str) -> list[Path]:
    """Folders of the control groups that may hold this process, its own and those around it (cgroup v1 and v2)."""
    found = [CGROUPS, CGROUPS / controller]
    with contextlib.suppress(OSError, ValueError):
        for _, names, own in (line.split(":", 2) for line in MEMBERSHIP.read_text().splitlines()):
            if not names or controller in names.split(","):
                base = CGROUPS / controller if names else CGROUPS
                folder = base / own.lstrip("/")
                found += [group for group in (folder, *folder.parents) if group.is_relative_to(base)]
    return found


def _numbers(file: Path) -> list[int]:
    """The whole numbers in a file; none where there is no such file, or where it says "max"."""
    try:
        return [int(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []


def _quota(group: Path) -> float | None:
    """Cores granted by a control group; None without a limit."""
    quota = _numbers(group / "cpu.max")
    quota = quota or _numbers(group / "cpu.cfs_quota_us") + _numbers(group / "cpu.cfs_period_us")
    return quota[0] / quota[1] if len(quota) == 2 and quota[0] > 0 else None


def _memory_left(group: Path) -> list[int]:
    """Bytes that a control group still grants, one number or none: files that are only cached make room."""
    limit = _numbers(group / "memory.max") or _numbers(group / "memory.limit_in_bytes")
    used = _numbers(group / "memory.current") or _numbers(group / "memory.usage_in_bytes")
    try:
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        counts = {}
    cached = int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
    return [limit[0] - max(0, used[0] - cached)] if limit and used else []


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
    return torch.Generator(device=on).manual_seed(seed_of(seed))


def memory_available() -> int:
    """Bytes of memory this process may still take: the machine's free memory, or the container's rest."""
    free = psutil.virtual_memory().available
    left = itertools.chain.from_iterable(_memory_left(group) for group in _control_groups("memory"))
    return max(0, min([free, *left]))


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
        if abs(count) < 999.5:  # three digits: 999.7 would read 1e+03
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if abs(count) < 999.5 else f"{count:,.0f} GB"


def readable_seconds(seconds: float) -> str:
    """``75.2`` as ``1 min 15 s``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
