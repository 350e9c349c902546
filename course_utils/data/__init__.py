"""What the course's models learn from. Nothing is downloaded, nothing is computed before it is asked for.

A story language whose entropy is known exactly (`stories`), handwritten digits (`digits`), Python's own
manual (`manual_text`) and a text of the learner's own (`own_text`). Tensors are on the CPU: the training loop
moves them.
"""

from course_utils.data.abilities import StoryFacts, ability_accuracy, ability_masks, judge, story_facts
from course_utils.data.grammar import STORY_VOCAB, grammatical, stories, story_log_prob
from course_utils.data.images import SHIFTS, digits, digits_split, shift_digits
from course_utils.data.questions import Question, question_rows, questions
from course_utils.data.rows import NO_TARGET, StoryTokenizer, row_batches, story_rows
from course_utils.data.rungs import ladder, stories_entropy
from course_utils.data.text import CharTokenizer, manual_text, own_text, text_batches, text_rows, text_split
