"""The studies behind 03_distillation."""

from __future__ import annotations

from course_utils.studies.study import Study

STUDIES: dict[str, Study] = {}
