"""Pretraining: the story GPT, sampling from it, what it has learned, and how its loss scales."""

from course_utils.pretraining.ngrams import bigram_counts, ngram_tables
from course_utils.pretraining.sampling import next_token_probabilities, sample
from course_utils.pretraining.scaling import ScalingLaw, fit_scaling_law
from course_utils.pretraining.stories import (
    evaluate,
    held_out_loss,
    judge_written,
    story_pool,
    story_recipe,
    story_sample,
    write_story,
)
from course_utils.pretraining.texts import text_recipe, unigram_entropy

__all__ = [
    "ScalingLaw",
    "bigram_counts",
    "evaluate",
    "fit_scaling_law",
    "held_out_loss",
    "judge_written",
    "next_token_probabilities",
    "ngram_tables",
    "sample",
    "story_pool",
    "story_recipe",
    "story_sample",
    "text_recipe",
    "unigram_entropy",
    "write_story",
]
