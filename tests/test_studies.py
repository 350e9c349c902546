"""Every study is stored whole, and what cannot be read says how to make it."""

import json

import pytest

from course_utils.lesson.study import Studies, Study, command
from tools import run_studies

TABLES = run_studies.tables()


@pytest.mark.parametrize("name", TABLES)
def test_every_point_of_a_study_is_stored_once(name):
    rows = TABLES[name].stored(name)
    points = list(TABLES[name][name].points())
    assert len(rows) == len(points), f"`{command(name)}` runs what is missing and drops what is no point"
    for point in points:
        assert len([row for row in rows if point.items() <= row.items()]) == 1, point


@pytest.fixture
def small(tmp_path):
    """A table of two studies in a folder of its own, and the seeds of the points that ran."""
    ran = []

    def point(*, seed):
        ran.append(seed)
        return {"loss": seed / 3}

    study = Study(lambda: ({"seed": seed} for seed in range(3)), point)
    return Studies(str(tmp_path / "studies.py"), {"small": study, "other": study}), ran


def test_results_that_cannot_be_read_name_their_command(small):
    studies, _ = small
    for text in (None, "", "{", "[]", '{"rows": 3}'):
        if text is not None:
            studies.results.mkdir(exist_ok=True)
            studies.path("small").write_text(text)
        with pytest.raises(ValueError, match="make it with `python -m tools.run_studies small`"):
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
        ran.clear()
        run_studies.make(studies, "small")
        assert ran == runs
        assert studies.stored("small") == [{"seed": seed, "loss": float(f"{seed / 3:.5g}")} for seed in seeds]
