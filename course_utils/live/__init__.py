"""Live panels: training that a learner can watch and steer while it runs."""

from course_utils.live.canvas import Drawing, PixelCanvas
from course_utils.live.controls import Choice, Line, Slider
from course_utils.live.explorer import Explorer, Shown
from course_utils.live.figure import LiveFigure
from course_utils.live.machine import MachineCard
from course_utils.live.panel import TrainingPanel
from course_utils.live.picker import FilePicker
from course_utils.live.views import CurvesView, FrontierView, LossView, TextView, Trace

__all__ = [
    "Choice", "CurvesView", "Drawing", "Explorer", "FilePicker", "FrontierView", "Line", "LiveFigure", "LossView",
    "MachineCard", "PixelCanvas", "Shown", "Slider", "TextView", "Trace", "TrainingPanel",
]  # fmt: skip
