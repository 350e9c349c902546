"""What makes a notebook a lesson: predictions, exercise checks, claims, a quiz, and progress."""

from course_utils.evidence import Paired, holds, paired, within_noise
from course_utils.lesson.checks import Verdict, check, exercise, judge, law
from course_utils.lesson.claims import claim
from course_utils.lesson.compare import compare
from course_utils.lesson.course_map import course_map
from course_utils.lesson.progress import Progress, my_progress
from course_utils.lesson.questions import predict, recall
from course_utils.lesson.quizzes import Question, quiz

__all__ = [
    "Paired", "Progress", "Question", "Verdict", "check", "claim", "compare", "course_map", "exercise",
    "holds", "judge", "law", "my_progress", "paired", "predict", "quiz", "recall", "within_noise",
]  # fmt: skip
