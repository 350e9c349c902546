"""What the machine offers is read right, and said right."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_utils import runtime


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_device_prefers_an_accelerator_and_names_what_is_missing(monkeypatch):
    assert runtime.device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert runtime.device().type == "cpu"
    for missing in ("cuda", "cuda:1", "gpu"):
        with pytest.raises(RuntimeError, match=f"no {missing[:3]}.* device on this machine: choose one of cpu"):
            runtime.device(missing)
    assert runtime.device(torch.device("meta")).type == "meta"


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A machine with plenty of everything; `groups(file, text)` writes what a control group says."""
    monkeypatch.setattr(runtime, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(runtime, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda pid: range(64), raising=False)
    monkeypatch.setattr(runtime.psutil, "virtual_memory", lambda: SimpleNamespace(available=10**12))

    def write(name, text):
        file = tmp_path / "membership" if name == "membership" else tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


@pytest.mark.parametrize("text, cores", [("100000 100000", 1), ("150000 100000", 1.5), ("max 100000", 64)])
def test_quota_of_a_container_version_2(groups, text, cores):
    groups("cpu.max", text)
    assert runtime.cpu_quota() == cores


@pytest.mark.parametrize("quota, cores", [("200000", 2), ("-1", 64)])
def test_quota_of_a_container_version_1(groups, quota, cores):
    groups("cpu/cpu.cfs_quota_us", quota)
    groups("cpu/cpu.cfs_period_us", "100000")
    assert runtime.cpu_quota() == cores


def test_the_tightest_of_the_groups_around_a_process_counts(groups):
    groups("membership", "4:memory:/elsewhere\n0::/class/anna\n")
    groups("class/anna/cpu.max", "max 100000")
    groups("class/cpu.max", "300000 100000")
    groups("class/bob/cpu.max", "100000 100000")
    assert runtime.cpu_quota() == 3


def test_memory_of_a_container_leaves_out_what_is_only_cached(groups):
    groups("memory.max", "2000000000")
    groups("memory.current", "1900000000")
    assert runtime.memory_available() == 100_000_000
    groups("memory.stat", "anon 900000000\ninactive_file 1000000000\n")
    assert runtime.memory_available() == 1_100_000_000
    groups("memory.max", "max")
    assert runtime.memory_available() == 10**12


def test_memory_of_a_container_version_1(groups):
    groups("membership", "4:memory:/docker/1\n")
    groups("memory/docker/1/memory.limit_in_bytes", "2000000000")
    groups("memory/docker/1/memory.usage_in_bytes", "2500000000")
    assert runtime.memory_available() == 0


def test_small_models_get_one_thread_and_large_ones_no_more_than_the_quota(monkeypatch):
    monkeypatch.setattr(runtime, "cpu_quota", lambda: 3.5)
    assert runtime.use_threads(100_000) == 1 == torch.get_num_threads()
    assert runtime.choose_threads(100_000_000) == 3
    monkeypatch.setattr(runtime, "cpu_quota", lambda: 0.5)
    assert runtime.choose_threads(100_000_000) == 1


def test_generators_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = torch.rand(4, generator=runtime.generator(7))
    torch.manual_seed(2)
    assert torch.equal(first, torch.rand(4, generator=runtime.generator(7)))
    assert not torch.equal(first, torch.rand(4, generator=runtime.generator(8)))


@pytest.mark.parametrize("seed", [np.int64(7), np.uint8(7), torch.tensor(7)])
def test_a_seed_may_come_from_an_array(seed):
    assert torch.equal(torch.rand(4, generator=runtime.generator(seed)), torch.rand(4, generator=runtime.generator(7)))


@pytest.mark.parametrize("seed", [-1, 1.5, True, 2**63, None, "7"])
def test_a_bad_seed_is_named(seed):
    with pytest.raises(ValueError, match="expected a whole number"):
        runtime.generator(seed)


def test_readable_amounts():
    assert runtime.readable_bytes(999) == "999 B"
    assert runtime.readable_bytes(12_600_000) == "12.6 MB"
    assert runtime.readable_bytes(70e9 * 2) == "140 GB"
    assert [runtime.readable_bytes(n) for n in (999.7, 999_700, 999_700_000)] == ["1 kB", "1 MB", "1 GB"]
    assert runtime.readable_seconds(0.9999) == "1 s"
    assert runtime.readable_seconds(0.02) == "20 ms"
    assert runtime.readable_seconds(75.2) == "75 s"
    assert runtime.readable_seconds(300) == "5 min 0 s"
    assert runtime.readable_seconds(7500) == "2 h 5 min"


def test_the_machine_reads_as_a_sentence():
    here = runtime.machine()
    assert here.memory > 0 and here.cores > 0
    assert "of memory free" in str(here)
