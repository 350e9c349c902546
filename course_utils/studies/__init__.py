"""The studies of all notebooks. A module here holds those of a notebook, or of some of its sections."""

from __future__ import annotations

from course_utils.lesson.study import Studies
from course_utils.studies import initialization, pretraining, starts

STUDIES = Studies(__file__, {
    **pretraining.STUDIES,
    **initialization.STUDIES,
    **starts.STUDIES,
})  # fmt: skip
column, run_point, stored = STUDIES.column, STUDIES.run_point, STUDIES.stored
