"""One training loop, its history and its knobs; headless, exact, replayable."""

from course_utils.training.batches import batch_generator
from course_utils.training.cost import Cost, estimate, peak_memory
from course_utils.training.history import Curve, Event, History
from course_utils.training.knobs import keyword_knobs
from course_utils.training.loop import Experiment, Run, default_loss, finish, fit
from course_utils.training.optimizers import OPTIMIZERS
from course_utils.training.recording import replay
from course_utils.training.schedules import constant, cosine
