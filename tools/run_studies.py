"""Run the studies behind the notebooks, and store their results.

    python -m tools.run_studies                     what is stale or missing, on all cores: hours
    python -m tools.run_studies schedule            one of them
    python -m tools.run_studies --audit [NAME ...]  run a random point of each again, see tools/audit.py
    python -m tools.run_studies --stamp NAME ...    say that stored results are those of today's code

A study is stale where its stored fingerprint is not that of its code: then all its points run. Else only those that are
missing do. Each result is stored at once, so the command may be stopped, and goes on when it is called again.

STUDIES_BACKEND names another backend of joblib than its own processes (`dask`, `ray`), STUDIES_ADDRESS a cluster's
scheduler, such as tcp://host:8786.

To stamp is honest after a change that can't alter a result: a name, an error's text, a class's new method that no point
calls. An audit before it shows that at one point of the study. In any other case, run the study.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import torch

import chapters
from course_utils import runtime
from course_utils.lesson.study import Row, Studies, command
from tools.fingerprints import fingerprint


def tables() -> dict[str, Studies]:
    """Every study's name, with the table that holds it."""
    found: dict[str, Studies] = {}
    for chapter in pkgutil.iter_modules(chapters.__path__, "chapters."):
        if chapter.ispkg and importlib.util.find_spec(f"{chapter.name}.studies"):
            table = importlib.import_module(f"{chapter.name}.studies").STUDIES
            found |= dict.fromkeys(table, table)
    return found


def is_stale(table: Studies, name: str) -> bool:
    """Whether a study's stored results were made by other code than today's. A study without results is not stale."""
    path = table.path(name)
    return path.exists() and json.loads(path.read_text()).get("fingerprint") != fingerprint(table[name].point)


def stale() -> list[str]:
    """The names of all stale studies."""
    return [name for name, table in tables().items() if is_stale(table, name)]


@contextmanager
def backend(name: str = "", address: str = "") -> Iterator[None]:
    """The joblib backend on which points run: its own processes on this machine, or another one, such as Dask."""
    if name == "dask":
        from distributed import Client

        with Client(address or None) as client, joblib.parallel_config("dask", client=client):
            yield
        return
    if name == "ray":
        import ray
        from ray.util.joblib import register_ray

        ray.init(address or None)
        register_ray()
    with joblib.parallel_config(name or "loky"):
        yield


def make(table: Studies, name: str) -> None:
    """Run what is stale or missing of a study, and forget results that are no longer among its points."""
    points = list(table[name].points())
    known = table.stored(name) if table.path(name).exists() and not is_stale(table, name) else []
    rows = {place: row for place, point in enumerate(points) for row in known if point.items() <= row.items()}
    if len(rows) < len(known):
        _write(table, name, rows)
    missing = [place for place in range(len(points)) if place not in rows]
    start = time.perf_counter()
    for done, (place, row) in enumerate(_run(table[name].point, {place: points[place] for place in missing}), 1):
        rows[place] = row
        _write(table, name, rows)
        left = (time.perf_counter() - start) / done * (len(missing) - done)
        print(f"{name}: {done} of {len(missing)}, {runtime.readable_seconds(left)} left: {row}", flush=True)


def _run(point: Callable[..., Row], points: dict[int, Row]) -> Iterator[tuple[int, Row]]:
    """Run points side by side; each comes with its place, as soon as it is done (with Ray: when all are)."""
    jobs = (joblib.delayed(run_alone)(point, place, settings) for place, settings in points.items())
    streams = joblib.parallel.get_active_backend()[0].supports_return_generator
    return iter(joblib.Parallel(n_jobs=-1, batch_size=1, return_as="generator_unordered" if streams else "list")(jobs))


def run_alone(point: Callable[..., Row], place: int, settings: Row) -> tuple[int, Row]:
    """Run one point on one thread, since each core has a point of its own; its row is what a study stores."""
    torch.set_num_threads(1)
    return place, settings | {key: _short(value) for key, value in point(**settings).items()}


def _write(table: Studies, name: str, rows: dict[int, Row]) -> None:
    """Store rows in the order of their points, whatever order they came in. A stop on the way leaves the old file."""
    about = {"command": command(name), "torch": torch.__version__.split("+")[0],
             "fingerprint": fingerprint(table[name].point)}  # fmt: skip
    _store(table.path(name), about, [rows[place] for place in sorted(rows)])


def _store(path: Path, about: dict[str, str], rows: list[Row]) -> None:
    lines = ",\n".join(json.dumps(row) for row in rows)
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(f"{json.dumps(about)[:-1]}, \"rows\": [\n{lines}\n]}}\n")
    new.replace(path)


def _short(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


def stamp(table: Studies, name: str) -> None:
    """Give stored results the fingerprint of today's code, and leave all else as it is."""
    stored = json.loads(table.path(name).read_text())
    about = stored | {"command": command(name), "fingerprint": fingerprint(table[name].point)}
    _store(table.path(name), about, about.pop("rows"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.run_studies")
    parser.add_argument("names", nargs="*", metavar="NAME", help="the studies; without a name, all of them")
    parser.add_argument("--audit", action="store_true", help="run one random point of each again, and compare")
    parser.add_argument("--count", type=int, help="with --audit: only so many studies, drawn at random")
    parser.add_argument("--seed", type=int, help="with --audit: of what is drawn")
    parser.add_argument("--stamp", action="store_true", help="only write today's fingerprint, see the module's text")
    options, known = parser.parse_args(), tables()
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no study {', '.join(unknown)}: choose from {', '.join(known)}")
    chosen = {name: known[name] for name in options.names or known}
    if options.audit:
        from tools.audit import audit

        return audit(chosen, count=options.count, seed=options.seed)
    if options.stamp and not options.names:
        parser.error("--stamp needs the names of studies: it says of each that its code's change alters no result")
    with backend(os.environ.get("STUDIES_BACKEND", ""), os.environ.get("STUDIES_ADDRESS", "")):
        for name, table in chosen.items():
            (stamp if options.stamp else make)(table, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
