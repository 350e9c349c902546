"""Every study is stored whole, and what cannot be read says how to make it."""

import json

import pytest

from course_utils import studies


@pytest.mark.parametrize("name", studies.STUDIES)
def test_every_point_of_a_study_is_stored_once(name):
    rows = studies.stored(name)
    points = list(studies.STUDIES[name].points())
    assert len(rows) >= len(points)
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
