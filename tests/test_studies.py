"""Every study is stored whole, and what cannot be read says how to make it."""

import ast
import json

import pytest
from distributed import LocalCluster

from course_utils.lesson.study import Studies, Study, command
from tools import audit, build_notebooks, fingerprints, run_studies

TABLES = run_studies.tables()


@pytest.mark.parametrize("name", TABLES)
def test_every_point_of_a_study_is_stored_once(name):
    rows = TABLES[name].stored(name)
    points = list(TABLES[name][name].points())
    assert len(rows) == len(points), f"`{command(name)}` runs what is missing and drops what is no point"
    for point in points:
        assert len([row for row in rows if point.items() <= row.items()]) == 1, point


@pytest.mark.parametrize("name", TABLES)
def test_every_stored_study_is_of_todays_code(name):
    assert not run_studies.is_stale(TABLES[name], name), f"its code has changed: run `{command(name)}`"


@pytest.fixture
def small(tmp_path):
    """A table of two studies in a folder of its own, and a function that says which seeds ran since it was asked."""

    def point(*, seed):
        (tmp_path / f"{seed}.ran").touch()
        return {"loss": seed / 3}

    def ran():
        marks = sorted(tmp_path.glob("*.ran"))
        for mark in marks:
            mark.unlink()
        return [int(mark.stem) for mark in marks]

    study = Study(lambda: ({"seed": seed} for seed in range(3)), point)
    return Studies(str(tmp_path / "studies.py"), {"small": study, "other": study}), ran


def test_results_that_cannot_be_read_name_their_command(small):
    studies, _ = small
    for text in (None, "", "{", "[]", '{"rows": 3}'):
        if text is not None:
            studies.results.mkdir(exist_ok=True)
            studies.path("small").write_text(text)
        with pytest.raises(ValueError, match="make it with `make studies NAME=small`"):
            studies.stored("small")
    with pytest.raises(ValueError, match="choose one of small, other"):
        studies.stored("nosuch")
    studies.path("small").write_text(json.dumps({"rows": []}))
    with pytest.raises(ValueError, match="no stored run of small"):
        studies.column("small", "loss", stories=1)


def test_a_study_runs_what_is_missing_and_forgets_what_is_no_point(small):
    studies, ran = small
    for seeds, runs in ((range(3), [0, 1, 2]), (range(4), [3]), (range(1, 4), [])):
        studies["small"] = Study(lambda seeds=seeds: ({"seed": seed} for seed in seeds), studies["small"].point)
        run_studies.make(studies, "small")
        assert ran() == runs
        assert studies.stored("small") == [{"seed": seed, "loss": float(f"{seed / 3:.5g}")} for seed in seeds]


def test_a_stale_study_runs_again_and_a_stamp_changes_nothing_else(small):
    studies, ran = small
    run_studies.make(studies, "small")
    ran()
    path, made = studies.path("small"), studies.path("small").read_text()
    path.write_text(made.replace('"fingerprint": "', '"fingerprint": "0'))
    assert run_studies.is_stale(studies, "small")
    run_studies.stamp(studies, "small")
    assert path.read_text() == made and ran() == []
    path.write_text(made.replace('"fingerprint": "', '"fingerprint": "0'))
    run_studies.make(studies, "small")
    assert path.read_text() == made and ran() == [0, 1, 2]


def test_a_cluster_of_two_processes_stores_what_one_process_does(small):
    studies, ran = small
    with run_studies.backend("sequential"):
        run_studies.make(studies, "small")
    ran()
    serial = studies.path("small").read_text()
    studies.path("small").unlink()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with run_studies.backend("dask", cluster.scheduler_address):
            run_studies.make(studies, "small")
    assert studies.path("small").read_text() == serial and ran() == [0, 1, 2]


# --- fingerprints -------------------------------------------------------------------------------------------------

MODULE = """
from course_utils import data
RATE = 0.1
OTHER = 2
TABLE = {}

def entry():
    return 5

TABLE.update(entry=entry)

def helper(x: int = 3):
    return RATE * x

def unrelated():
    return OTHER

def point(*, seed):
    return {"loss": helper(seed) + TABLE["entry"](), "rows": data.digits_split().train_images}
"""


@pytest.mark.parametrize(("old", "new", "changed"), [
    ("RATE = 0.1", "RATE = 0.2", True),
    ("* x", "* x + 0", True),
    ("return 5", "return 6", True),
    ("OTHER = 2", "OTHER = 3", False),
    ("return OTHER", "return 2 * OTHER", False),
    ("RATE = 0.1", "RATE = (0.1)  # why", False),
    ("    return RATE", "    'A text.'\n    return RATE", False),
    ("x: int", "x: float", False),
])
def test_a_fingerprint_changes_with_what_a_point_reaches_alone(tmp_path, monkeypatch, old, new, changed):
    monkeypatch.syspath_prepend(tmp_path)
    codes = []
    for name, text in (("before", MODULE), ("after", MODULE.replace(old, new))):
        (tmp_path / f"{name}_{tmp_path.name}.py").write_text(text)
        code = fingerprints.reached(f"{name}_{tmp_path.name}", "point")
        codes.append({key.removeprefix(f"{name}_"): value for key, value in code.items()})
    assert (codes[0] != codes[1]) == changed
    assert "course_utils.data.images.digits_split" in codes[0]


def test_an_f_string_is_spelled_alike_however_it_is_cut():
    texts = ("f'a{x:.3f}b' 'c'", "f'a{x:.3f}' f'bc'")
    assert len({fingerprints.spelled(ast.parse(text)) for text in texts}) == 1


def test_a_fingerprint_is_the_same_for_every_version_of_python():
    tree = ast.parse("def f(a, *, b=1):\n    'text'\n    return [a, (), {}, lambda: None]")
    assert fingerprints.spelled(tree) == (
        "Module(body=[FunctionDef(name='f', args=arguments(args=[arg(arg='a')], kwonlyargs=[arg(arg='b')], "
        "kw_defaults=[Constant(value=1)]), body=[Return(value=List(elts=[Name(id='a'), Tuple(), Dict(), "
        "Lambda(args=arguments(), body=Constant())]))])])"
    )


def test_a_claim_over_stale_runs_fails_the_build_and_other_claims_do_not(monkeypatch):
    monkeypatch.setattr(build_notebooks, "stale", lambda: ["schedule"])
    source = "from chapters.pretraining.studies import STUDIES\nprint(len(STUDIES.stored('{}')) > 0)"

    def run(name):
        notebook = build_notebooks.nbformat.v4.new_notebook()
        notebook.cells = [build_notebooks.nbformat.v4.new_code_cell(source.format(name))]
        build_notebooks.run_(notebook, folder=build_notebooks.NOTEBOOKS)

    run("copying")
    with pytest.raises(build_notebooks.BuildError, match="make studies NAME=schedule"):
        run("schedule")


# --- the audit ----------------------------------------------------------------------------------------------------

ROWS = [{"width": width, "seed": seed, "loss": width + seed / 10, "right": [[0.1, 0.2]]}
        for width in (1, 5) for seed in range(5)]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), [
    ({}, []),
    ({"loss": 1.5}, ["within"]),
    ({"loss": 1.9}, ["miss"]),  # over both widths the spread would be 2
    ({"right": [[0.1, 0.3]]}, ["miss"]),  # no spread over seeds
    ({"status": "diverged"}, ["miss"]),
])
def test_an_audit_allows_three_deviations_over_the_seeds_of_the_same_settings(change, said):
    told = audit.differences(ROWS, {"width": 1, "seed": 2}, ROWS[2] | change)
    assert [line.split(":")[0] for line in told] == said


def test_an_audit_that_misses_ends_with_1_and_says_how_to_see_it_again(small, capsys):
    studies, _ = small
    run_studies.make(studies, "small")
    assert audit.audit({"small": studies}, seed=3) == 0
    studies["small"] = Study(studies["small"].points, lambda seed: {"loss": seed + 9.0})
    assert audit.audit({"small": studies}, seed=3) == 1
    assert "--audit --seed 3 small" in capsys.readouterr().out
