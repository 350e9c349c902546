"""Distillation: what a student learns from a teacher's outputs, hidden layers or weights."""

from course_utils.distillation.methods import (
    DIVERGENCES,
    agreement,
    copy_layers_,
    distillation_loss,
    forward_kl,
    hidden,
    high_temperature_gradient,
    hint_loss,
    jensen_shannon,
    label_smoothing,
    on_policy_loss,
    pseudo_labels,
    reverse_kl,
    soft_targets,
)
