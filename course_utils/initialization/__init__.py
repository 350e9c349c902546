"""How weights start: schemes, what theory predicts of them, and what is measured."""

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
