"""What the course's models learn from. Nothing is downloaded, nothing is computed before it is asked for.

A story language whose entropy is known exactly (`stories`), and handwritten digits (`digits`). Tensors are on the CPU:
the training loop moves them.
"""

from course_utils.data.grammar import STORY_VOCAB, grammatical, stories, story_log_prob
from course_utils.data.images import digits, digits_split
from course_utils.data.rows import StoryTokenizer, row_batches, story_rows
from course_utils.data.rungs import ladder, stories_entropy
