"""Every study is stored whole, and what cannot be read says how to make it."""

import json

import pytest

from course_utils import studies
from course_utils.lesson.study import Study
from tools import run_studies


@pytest.mark.parametrize("name", studies.STUDIES)
def test_every_point_of_a_study_is_stored_once(name):
    rows = studies.stored(name)
    points = list(studies.STUDIES[name].points())
    assert len(rows) == len(points), f"`{studies.command(name)}` runs what is missing and drops what is no point"
    for point in points:
        assert len([row for row in rows if point.items() <= row.items()]) == 1, point


def test_results_that_cannot_be_read_name_their_command(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "RESULTS", tmp_path)
    for text in (None, "", "{", "[]", '{"rows": 3}'):
        if text is not None:
            (tmp_path / "repeats.json").write_text(text)
        with pytest.raises(ValueError, match="make it with `python -m tools.run_studies repeats`"):
            studies.stored("repeats")
    with pytest.raises(ValueError, match="choose one of schedule, repeats"):
        studies.stored("nosuch")
    (tmp_path / "repeats.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(ValueError, match="no stored run of repeats"):
        studies.column("repeats", "loss", stories=1)


def test_a_study_runs_what_is_missing_and_forgets_what_is_no_point(tmp_path, monkeypatch):
    ran = []

    def point(*, seed):
        ran.append(seed)
        return {"loss": seed / 3}

    for module in (studies, run_studies):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    for seeds, runs in ((range(3), [0, 1, 2]), (range(4), [3]), (range(1, 4), [])):
        study = Study(lambda seeds=seeds: ({"seed": seed} for seed in seeds), point)
        monkeypatch.setitem(studies.STUDIES, "small", study)
        ran.clear()
        run_studies.make("small")
        assert ran == runs
        assert studies.stored("small") == [{"seed": seed, "loss": float(f"{seed / 3:.5g}")} for seed in seeds]
