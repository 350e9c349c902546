"""Pretraining: from a model's logits to text."""

from course_utils.pretraining.sampling import next_token_probabilities, sample
