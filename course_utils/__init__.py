"""The course's code: models, one training loop, what each subject adds, live panels, and lessons.

Import the part you need, for example ``from course_utils import models, training``.
"""

__version__ = "0.1.0"
