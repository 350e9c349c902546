"""How weights start: schemes, what theory predicts of them, and what is measured."""

from course_utils.initialization.depth import Predicted, predict_signal
from course_utils.initialization.lsuv import output_stds, unit_variance_
from course_utils.initialization.memory import (
    NAMED_MODELS,
    Llama,
    TrainingMemory,
    parameter_count,
    peak_memory,
    training_memory,
)
from course_utils.initialization.probes import Probe, Statistics, probe, statistics
from course_utils.initialization.schemes import INIT_SCHEMES, Scheme, initialize_, layer_gain
from course_utils.initialization.theory import (
    MeanField,
    correlation_map,
    dead_probability,
    edge_of_chaos,
    initial_loss,
    mean_field,
    relu_second_moment,
    variance_map,
)
from course_utils.initialization.width import CoordinateCheck, coordinate_check, mup_groups, mup_learning_rates

__all__ = [
    "INIT_SCHEMES", "NAMED_MODELS", "CoordinateCheck", "Llama", "MeanField", "Predicted", "Probe", "Scheme",
    "Statistics", "TrainingMemory", "coordinate_check", "correlation_map", "dead_probability", "edge_of_chaos",
    "initial_loss", "initialize_", "layer_gain", "mean_field", "mup_groups", "mup_learning_rates", "output_stds",
    "parameter_count", "peak_memory", "predict_signal", "probe", "relu_second_moment", "statistics",
    "training_memory", "unit_variance_", "variance_map",
]  # fmt: skip
