"""Live panels: training that a learner can watch and steer while it runs."""

from course_utils.live.controls import Choice, Slider
from course_utils.live.explorer import Explorer, Shown
from course_utils.live.panel import TrainingPanel
from course_utils.live.views import CurvesView, LossView, TextView, Trace
