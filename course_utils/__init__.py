"""Helpers for the course: models, one training loop, live panels, and lessons.

Import the part you need, for example ``from course_utils import models, training``.
"""

__version__ = "0.1.0"
