"""The studies of all notebooks. A module here holds those of a notebook, or of some of its sections."""

from __future__ import annotations

from course_utils.lesson.study import Studies
from course_utils.studies import pretraining

STUDIES = Studies(__file__, {
    **pretraining.STUDIES,
})  # fmt: skip
column, run_point, stored = STUDIES.column, STUDIES.run_point, STUDIES.stored
