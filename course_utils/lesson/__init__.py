"""What makes a notebook a lesson: predictions, exercise checks, claims, a quiz, and progress."""

from course_utils.evidence import above, interval, same
from course_utils.lesson.checks import check, exercise, judge, law, teaches, written
from course_utils.lesson.claims import claim
from course_utils.lesson.compare import compare, is_finite
from course_utils.lesson.questions import predict, recall
from course_utils.lesson.quizzes import Question, quiz
