"""How weights start: schemes, and what theory predicts of them."""

from course_utils.initialization.lsuv import output_stds, unit_variance_
from course_utils.initialization.schemes import INIT_SCHEMES, Scheme, initialize_
from course_utils.initialization.theory import mean_field
