"""The lists of packages agree, and what Make and Binder do with them is what they say."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from importlib import metadata
from itertools import product
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools import lock as locking

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
START = "/lab/tree/notebooks/00_start_here.ipynb"
SETTINGS = {  # where each file of settings belongs, below a Python's prefix
    "binder/overrides.json": "share/jupyter/lab/settings/overrides.json",
    "binder/jupyter_nbconvert_config.json": "etc/jupyter/jupyter_nbconvert_config.json",
    "binder/ipython_kernel_config.json": "etc/ipython/ipython_kernel_config.json",
}


def read_lock():
    """Name to requirement, for each line of the lock."""
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


LOCK = read_lock()
VERSIONS = {name: re.fullmatch(r"==(\S+)", str(need.specifier))[1] for name, need in LOCK.items()}


def conda(name):
    """A conda environment file's name and version pairs, and what it installs with pip."""
    described = yaml.safe_load((ROOT / name).read_text())
    assert described["channels"] == ["conda-forge"]
    plain = [line for line in described["dependencies"] if isinstance(line, str)]
    with_pip = [line for entry in described["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    return dict((line + "=").split("=")[:2] for line in plain), with_pip


# --- pyproject.toml, the lock, and what is installed --------------------------------------------------------------


def test_every_dependency_is_a_range_with_a_reason_beside_it():
    text = (ROOT / "pyproject.toml").read_text()
    lines = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    for line in lines:
        assert re.search(rf'^    "{re.escape(line)}", +# \w', text, re.MULTILINE), f"no reason beside {line}"
        need = Requirement(line)
        assert need.name == PROJECT["name"] or re.search(">=", str(need.specifier)), f"{line} has no range"


def test_the_lock_has_one_exact_version_within_every_range():
    for line in PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), []):
        need = Requirement(line)
        if need.name != PROJECT["name"]:
            assert need.specifier.contains(VERSIONS[canonicalize_name(need.name)]), line


def test_the_lock_names_no_build_of_one_machine():
    assert VERSIONS["torch"] == "2.13.0"
    assert [name for name, version in VERSIONS.items() if Version(version).local] == []
    for need in LOCK.values():
        assert need.marker is None or "sys_platform" in str(need.marker)


def test_the_tests_run_with_the_locked_versions():
    wanted = locking.project()
    packages = {wanted.name: wanted} | installed()
    names, _ = locking.walk(packages, here())
    different = {name: (metadata.version(name), VERSIONS[name]) for name in names - {wanted.name}
                 if Version(metadata.version(name)).public != VERSIONS[name]}
    assert different == {}, "installed and locked versions differ: rm .venv/.* and run make again"


@pytest.mark.parametrize(("system", "python"), list(product(locking.SYSTEMS, locking.PYTHONS)))
def test_the_lock_is_complete_on_every_system(system, python):
    packages = {PROJECT["name"]: locking.project()} | installed()
    environment = system.environment(python)
    names, unmet = locking.walk(packages, environment)
    for need in unmet:  # not installed here: needed by another system, or by benchmarks only
        name = canonicalize_name(need.name)
        assert name in LOCK, f"{need} is not in the lock"
        assert need.specifier.contains(VERSIONS[name]), f"{need}, but the lock has {VERSIONS[name]}"
        names.add(name)
    for name in names - {PROJECT["name"]}:
        assert LOCK[name].marker is None or LOCK[name].marker.evaluate(environment), name
    for name in names & packages.keys():
        assert packages[name].pythons.contains(f"{python}.0"), f"{name} is for Python {packages[name].pythons}"


def installed():
    """The installed packages that the lock names, at the lock's versions."""
    packages = {}
    for found in metadata.distributions():
        name = canonicalize_name(found.metadata["Name"])
        if name in LOCK:
            packages[name] = locking.Package(name, VERSIONS[name],
                                             SpecifierSet(found.metadata.get("Requires-Python") or ""),
                                             tuple(map(Requirement, found.requires or ())))
    return packages


def here():
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    [system] = [system for system in locking.SYSTEMS if system.sys_platform == sys.platform]
    return system.environment(python)


# --- conda and Binder ---------------------------------------------------------------------------------------------


def test_the_conda_environment_has_the_courses_packages_at_the_locks_versions():
    versions, with_pip = conda("environment.yml")
    python = versions.pop("python")
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{python}.0") and python in locking.PYTHONS
    versions.pop("pip")
    versions["torch"] = versions.pop("pytorch-cpu")
    assert versions == {need.name: VERSIONS[need.name] for need in RUNTIME}
    assert with_pip == ["-e ."]


def test_the_conda_environment_says_how_to_get_a_gpu():
    assert f"pytorch-gpu={VERSIONS['torch']}" in (ROOT / "environment.yml").read_text()


def test_binder_has_the_same_packages_and_takes_pytorch_for_the_processor():
    everywhere, _ = conda("environment.yml")
    binder, with_pip = conda("binder/environment.yml")
    assert binder == {name: version for name, version in everywhere.items() if name != "pytorch-cpu"}
    assert with_pip == [], "this file is copied alone into an early layer, the course is not there yet"
    [torch] = re.findall(r"^python -m pip .*torch==.*$", (ROOT / "binder/postBuild").read_text(), re.MULTILINE)
    assert torch.endswith(f"--index-url https://download.pytorch.org/whl/cpu torch=={VERSIONS['torch']}")


def test_binders_files_are_files():
    for path in (ROOT / "binder").iterdir():
        assert path.is_file() and not path.is_symlink(), path


def test_repo2docker_reads_what_we_mean():
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    dockerfile = shown.stdout + shown.stderr
    early = dockerfile.index("src/binder/environment.yml ${REPO_DIR}/binder/environment.yml")
    packages = dockerfile.index('env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"')
    everything = dockerfile.index("src/ ${REPO_DIR}/")
    last = dockerfile.index("RUN ./binder/postBuild")
    assert early < packages < everything < last
    assert f"Building conda environment for python={conda('binder/environment.yml')[0]['python']}" in dockerfile


def run_post_build(tmp_path, python):
    """Run Binder's last step with a stand-in for Python, which writes down how it was called."""
    (tmp_path / "bin").mkdir()
    write_script(tmp_path / "bin" / "python", f'echo "$@" >> "{tmp_path}/calls"; {python}')
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "NB_PYTHON_PREFIX": str(tmp_path / "prefix")}
    done = subprocess.run([ROOT / "binder/postBuild"], cwd=ROOT, env=environment, capture_output=True, text=True)
    return done, (tmp_path / "calls").read_text().splitlines()


def write_script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_binders_last_step_installs_without_a_cache_and_leaves_the_settings(tmp_path):
    done, calls = run_post_build(tmp_path, "exit 0")
    assert done.returncode == 0, done.stderr
    assert all("--no-cache-dir" in call for call in calls if "pip install" in call)
    assert calls[-1] == "-c import course_utils"
    for name, place in SETTINGS.items():
        assert (tmp_path / "prefix" / place).read_text() == (ROOT / name).read_text()


def test_binders_last_step_stops_where_something_fails(tmp_path):
    done, calls = run_post_build(tmp_path, "exit 1")
    assert done.returncode != 0
    assert len(calls) == 1, "it went on after a failure"


def test_jupyterlab_knows_the_settings_that_we_change():
    for plugin, values in json.loads((ROOT / "binder/overrides.json").read_text()).items():
        package, name = plugin.split(":")
        schema = Path(sys.prefix, "share/jupyter/lab/schemas", package, f"{name}.json")
        assert values.keys() <= json.loads(schema.read_text())["properties"].keys(), plugin


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def test_jupyterlab_opens_the_start_page(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / "binder/jupyter_lab_config.json", tmp_path / "config")
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--IdentityProvider.token=",
               "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={address.rsplit(':', 1)[1]}"]
    environment = os.environ | {"JUPYTER_CONFIG_PATH": str(tmp_path / "config"),
                                "JUPYTER_CONFIG_DIR": str(tmp_path / "own")}
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        assert first_redirect(address, server, seconds=60) == START, (tmp_path / "log").read_text()
    finally:
        server.terminate()
        server.wait()


def first_redirect(address, server, *, seconds):
    """Where a server that is still starting sends whoever asks for its root."""
    opener = urllib.request.build_opener(NoRedirect)
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            opener.open(address)
        except urllib.error.HTTPError as answer:
            return answer.headers["Location"].rstrip("?")  # an empty query may follow
        except OSError:  # nobody listens yet
            time.sleep(0.2)
    return None


# --- make ---------------------------------------------------------------------------------------------------------

FAKE_PYTHON = """
case "$*" in
    --version) echo Python 3.12.99;;
    "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
    *) echo "$*" >> calls;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout, in a folder with a space in its name, and a `bin` that stands for the machine."""
    folder = tmp_path / "my course"
    (folder / "binder").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml", *SETTINGS):
        shutil.copy(ROOT / name, folder / name)
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "make", "id", "grep", "uname", "cp", "mkdir", "touch", "rm"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    write_script(tmp_path / "bin" / "python3.13", "echo a shim that leads nowhere >&2; exit 127")
    return folder


def make(folder, *arguments):
    environment = {"PATH": str(folder.parent / "bin")}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def calls(folder):
    """How the stand-in for Python was called, without what asks whether it works."""
    lines = (folder / "calls").read_text().splitlines()
    return [line for line in lines if not line.startswith("-c import sys") and line != "-m pip --version"]


def test_make_alone_lists_the_commands(checkout):
    shown = make(checkout).stdout
    for command in ("make lab", "make test", "make check", "make notebooks", "TORCH_INDEX", "CHROMIUM"):
        assert command in shown


def test_set_up_skips_a_python_that_does_not_run_and_says_what_it_does(checkout):
    write_script(checkout.parent / "bin" / "python3.12", FAKE_PYTHON)
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stderr
    assert "Making .venv with Python 3.12.99" in done.stdout
    assert "Installing PyTorch" in done.stdout and "minute" in done.stdout
    pip = "-m pip install --quiet --disable-pip-version-check --constraint requirements.lock"
    assert calls(checkout) == [f"{pip} torch", f"{pip} --editable ."]
    for name, place in SETTINGS.items():
        assert (checkout / ".venv" / place).read_text() == (ROOT / name).read_text()


def test_a_second_set_up_does_nothing(checkout):
    write_script(checkout.parent / "bin" / "python3.12", FAKE_PYTHON)
    make(checkout, "setup")
    before = calls(checkout)
    make(checkout, "setup")
    assert calls(checkout) == before


def test_pytorch_alone_comes_from_the_index_that_is_asked_for(checkout):
    write_script(checkout.parent / "bin" / "python3.12", FAKE_PYTHON)
    done = make(checkout, "setup", "TORCH_INDEX=https://example.org/cpu")
    assert "Installing PyTorch from https://example.org/cpu" in done.stdout
    first, *others = calls(checkout)
    assert first.endswith(f"--no-deps --index-url https://example.org/cpu torch=={VERSIONS['torch']}")
    assert not any("--index-url" in call for call in others)


def test_a_machine_without_a_fit_python_is_told_what_to_do(checkout):
    done = make(checkout, "setup")
    assert done.returncode != 0
    assert "No Python from 3.11 on was found on the path." in done.stdout
    assert "make PYTHON=" in done.stdout
    assert not (checkout / ".venv/.made").exists()


def test_a_machine_without_chromium_is_told_what_to_do(checkout):
    write_script(checkout.parent / "bin" / "python3.12", FAKE_PYTHON)
    done = make(checkout, "test")
    assert done.returncode != 0
    assert "apt-get install chromium" in done.stdout
    assert not any("pytest" in call for call in calls(checkout))


def test_ci_runs_make_test_and_can_be_started():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("make test")
