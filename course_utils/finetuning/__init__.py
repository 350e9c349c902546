"""Fine-tuning: what may move, low-rank updates, not forgetting, and weights between two models."""

from course_utils.finetuning.between import average, interpolate
from course_utils.finetuning.fisher import fisher_diagonal
from course_utils.finetuning.methods import (
    BIASES,
    LoRALinear,
    add_lora_,
    ewc_penalty,
    freeze_,
    l2_sp_penalty,
    merge_lora_,
    replay_batches,
)
