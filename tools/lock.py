"""Write requirements.lock: one exact version of every package, for every system that the course runs on.

    python -m tools.lock             keep the versions that stand in the lock, and add what is new
    python -m tools.lock --upgrade   take the newest versions that pyproject.toml allows

pip finds versions for one system and one Python, here Linux and the oldest. What the others need beside them is
found by reading each package's requirements as they would, and looking up what is missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = "course-utils"
EXTRAS = ("", "test", "bench")  # "" is what the course itself needs
PYTHONS = ("3.11", "3.12", "3.13")
HEADER = """\
# One exact version of every package, written by `make lock` from the ranges in pyproject.toml.
# Used as pip's constraints: `pip install -c requirements.lock -e .` installs the course with these versions.
# For Linux, macOS and Windows, Python 3.11 to 3.13.
"""


@dataclass(frozen=True)
class System:
    """An operating system as a requirement's marker sees it, and the kinds of wheel that it takes."""

    sys_platform: str
    platform_system: str
    os_name: str
    platform_machine: str
    wheels: tuple[str, ...]

    def environment(self, python: str) -> dict[str, str]:
        """The values of all markers on this system, for a Python such as "3.12"."""
        return {"sys_platform": self.sys_platform, "platform_system": self.platform_system,
                "os_name": self.os_name, "platform_machine": self.platform_machine,
                "platform_release": "", "platform_version": "",
                "python_version": python, "python_full_version": f"{python}.0",
                "implementation_name": "cpython", "implementation_version": f"{python}.0",
                "platform_python_implementation": "CPython"}


SYSTEMS = (
    System("linux", "Linux", "posix", "x86_64",
           (*(f"manylinux_2_{glibc}_x86_64" for glibc in range(28, 16, -1)), "manylinux2014_x86_64")),
    System("darwin", "Darwin", "posix", "arm64", ("macosx_14_0_arm64",)),
    System("win32", "Windows", "nt", "AMD64", ("win_amd64",)),
)


@dataclass(frozen=True)
class Package:
    """A package at one version, the Pythons it runs on, and what it requires."""

    name: str
    version: str
    pythons: SpecifierSet
    requires: tuple[Requirement, ...]


def project() -> Package:
    """The course itself, as pyproject.toml describes it."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requires = [Requirement(line) for line in about["dependencies"]]
    for extra, wanted in about["optional-dependencies"].items():
        requires += [Requirement(f'{line} ; extra == "{extra}"') for line in wanted]
    return Package(PROJECT, about["version"], SpecifierSet(about["requires-python"]), tuple(requires))


def walk(packages: dict[str, Package], environment: dict[str, str]) -> tuple[set[str], list[Requirement]]:
    """What the course needs in an environment: the names reached, and the requirements that none meets."""
    reached, unmet = set(), []
    todo = [(PROJECT, extra) for extra in EXTRAS]
    while todo:
        step = todo.pop()
        if step in reached:
            continue
        reached.add(step)
        name, extra = step
        for requirement in packages[name].requires:
            if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
                continue
            wanted = canonicalize_name(requirement.name)
            package = packages.get(wanted)
            if package and requirement.specifier.contains(package.version, prereleases=True):
                todo += [(wanted, extra) for extra in ("", *requirement.extras)]
            else:
                unmet.append(requirement)
    return {name for name, _ in reached}, unmet


def resolve(*arguments: str, system: System, python: str) -> dict[str, Package]:
    """What pip would install on a system for requirements and options."""
    with tempfile.TemporaryDirectory() as empty:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--disable-pip-version-check",
                   "--report", "-", "--target", empty, "--only-binary", ":all:", "--python-version", python,
                   *(f"--platform={wheels}" for wheels in system.wheels), *arguments]
        report = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {}
    for item in report["install"]:
        about = item["metadata"]
        requires = tuple(Requirement(line) for line in about.get("requires_dist", ()))
        name, version = canonicalize_name(about["name"]), about["version"]
        packages[name] = Package(name, version, SpecifierSet(about.get("requires_python", "")), requires)
    return packages


def resolve_everywhere(*options: str) -> dict[str, Package]:
    """One version of every package that any of the systems needs."""
    course = project()
    wanted = [f"{need.name}{need.specifier}" for need in course.requires if need.name != PROJECT]
    packages = resolve(*wanted, *options, system=SYSTEMS[0], python=PYTHONS[0]) | {PROJECT: course}
    for system, python in product(SYSTEMS, PYTHONS):
        while unmet := walk(packages, system.environment(python))[1]:
            first = unmet[0]
            clash = packages.get(canonicalize_name(first.name))
            if clash:
                raise SystemExit(f"{system.platform_system} with Python {python} needs {first}, not "
                                 f"{clash.version}: narrow its range in pyproject.toml")
            packages |= resolve(f"{first.name}{first.specifier}", "--no-deps", *options,
                                system=system, python=python)
    return packages


def refuse_narrow(packages: dict[str, Package]) -> None:
    """Stop at a package that is not for every Python of the lock, or only for some machines."""
    for package in packages.values():
        named = f"{package.name} {package.version}"
        if Version(package.version).local:
            raise SystemExit(f"{named} is a build for some machines only, and requires less than the usual one: "
                             "make the lock where pip takes packages from its usual index")
        if not all(package.pythons.contains(f"{python}.0") for python in PYTHONS):
            raise SystemExit(f"{named} is for Python {package.pythons}, the lock for {', '.join(PYTHONS)}: "
                             "narrow its range in pyproject.toml")


def lines(packages: dict[str, Package]) -> list[str]:
    """The lock's lines; what only some systems need says which."""
    needed = {system.sys_platform: set().union(*(walk(packages, system.environment(python))[0]
                                                 for python in PYTHONS)) for system in SYSTEMS}
    written = []
    for name, package in sorted(packages.items()):
        platforms = [platform for platform, names in needed.items() if name in names]
        if name == PROJECT or not platforms:
            continue
        marker = "" if len(platforms) == len(SYSTEMS) else " ; " + " or ".join(
            f'sys_platform == "{platform}"' for platform in platforms)
        written.append(f"{name}=={package.version}{marker}")
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Write requirements.lock from pyproject.toml.")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions where there are any")
    keep = () if parser.parse_args().upgrade or not LOCK.exists() else ("--constraint", str(LOCK))
    print("Finding a version for every package, a minute or two ...", flush=True)
    packages = resolve_everywhere(*keep)
    refuse_narrow(packages)
    written = lines(packages)
    LOCK.write_text(HEADER + "\n".join(written) + "\n")
    print(f"{LOCK.name}: {len(written)} packages")


if __name__ == "__main__":
    main()
