"""Pretraining: tables of n-grams, sampling from a model, and how its loss scales."""

from course_utils.pretraining.ngrams import bigram_counts, ngram_tables
from course_utils.pretraining.sampling import next_token_probabilities, sample
from course_utils.pretraining.scaling import ScalingLaw, fit_scaling_law
