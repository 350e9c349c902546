# %% [markdown]
# # 03 Distillation
#
# A large trained model, the **teacher**, trains a small one, the **student**. Afterwards only the student answers: it
# is cheaper and faster, and keeps most of what the teacher can do. In this notebook you find out what passes from one
# to the other, by which ways, and what does not.
#
# **Time:** 90 minutes, or 25 for sections 1 to 3. **Know first:** Python, and what a loss and a gradient are.
# [00 Start here](00_start_here.ipynb) shows how the panels work, [01 Pretraining](01_pretraining.ipynb) what logits and
# a temperature are.
#
# After this notebook you can
#
# - say what a teacher knows beyond the label, and make it visible with a temperature,
# - train a student with a temperature and alpha, and name the controls that such a result needs,
# - explain how a student recognizes a class that it has never seen,
# - use a teacher where labels are few, and say how much of the gain is due to the soft labels,
# - measure what a smaller model saves: weights, bytes, memory, and time to answer,
# - start a student from some of the teacher's layers, or give it hints from a middle one,
# - distil a language model from probabilities, from text alone, and on what the student itself writes,
# - teach one ability and check that the others were not carried,
# - say why a better teacher need not make a better student, and what agreement does not tell,
# - write soft targets, the distillation loss, its gradient at a high temperature, and a copy of layers.

# %%
import torch

from course_utils.distillation import digits, soft_targets
from course_utils.exercises.distillation import check
from course_utils.lesson import Question, claim, predict, quiz, recall
from course_utils.panels.distillation import soft_label_panel

# %% [markdown]
# ## 1. What a teacher knows beyond the label
#
# The data are handwritten digits, 8 by 8 pixels. A **label** says: this is a 7. The teacher is a network of 300,000
# weights, trained on 1,257 digits. Of 540 others it names 98.5 % rightly. It says more than a label: it gives each of
# the ten digits a **logit**, a raw score, and the softmax turns these into probabilities.
#
# Most of the time this looks like the label itself: 0.9999 for the 7. What is left for the other nine is tiny, and yet
# not all alike. A **temperature** T brings it out. It divides the logits before the softmax:
#
# $$p_i = \frac{\exp(z_i / T)}{\sum_j \exp(z_j / T)}$$
#
# In words: at T = 1 this is the teacher's own answer. A larger T makes the ten probabilities more alike, and keeps
# their order. These are the **soft labels**, or soft targets.

# %%
predict(
    "beyond",
    "You know for an image that its label is 4, and nothing else. The teacher's second choice for it is most often",
    options=["0", "5", "8", "any digit, all about as often"],
)

# %% [markdown]
# Pick an image, and slide the temperature up. The orange bar is the label. Which digits come next, and can you see why
# in the picture? Look for an image of which the teacher is not sure.

# %%
soft_label_panel()

# %%
split, logits = digits.digits(), digits.answers()  # (1257, 10), for the images that the teacher learned from
labels, choices = split.train_labels, logits.topk(2).indices
claim("at temperature 1, the teacher gives its first choice over 0.99 in more than 80 % of the images",
      (soft_targets(logits).amax(1) > 0.99).double().mean() > 0.8)
claim("at temperature 8, in fewer than 5 %",
      (soft_targets(logits, 8.0).amax(1) > 0.99).double().mean() < 0.05)
means = torch.stack([split.train_images[labels == digit].mean(0) for digit in range(10)])  # (10, 64)
apart = torch.cdist(means, means)[labels]  # (1257, 10), from an image's class to each other class
said = logits.log_softmax(-1)
others = torch.arange(10) != labels[:, None]
r = torch.corrcoef(torch.stack([apart[others], said[others]]))[0, 1]
claim("digits whose mean images are nearer get a higher probability (correlation below −0.3)", r < -0.3, correlation=r)

# %%
recall(
    "beyond",
    answer="0",
    because="it depends on how the writers of these digits wrote. No label says that a 4 looks like a 0 to a network; "
    "the teacher says so with every 4.",
)

# %% [markdown]
# Hinton, Vinyals and Dean (2015) called this *dark knowledge*: nearly all of what a teacher has learned about likeness
# is in the ratios of very small probabilities. A student that only sees labels must find it out from its own data.
#
# ### Exercise: soft targets
#
# Return the teacher's probabilities at a temperature. A hint for large logits: exp(1000) is inf, and `softmax` knows
# how to avoid it.

# %%
def soft_targets_of(logits, temperature):
    """logits: (images, classes) -> probabilities, (images, classes)"""
    ...


check("soft-targets", soft_targets_of)

# %% jupyter={"source_hidden": true} tags=["solution"]
def soft_targets_solution(logits, temperature):
    return (logits / temperature).softmax(-1)


check("soft-targets", soft_targets_solution, solution=True)

# %% [markdown]
# ## What you can do now
#
# - Say what a teacher knows beyond the label, and make it visible with a temperature.
# - Train a student with a temperature and alpha, beside hard labels, label smoothing and equal compute.
# - Explain how a student recognizes a class that it has never seen.
# - Use a teacher where labels are few, and say how much of the gain is due to the soft labels.
# - Measure what a smaller model saves, and where it saves nothing.
# - Start a student from the teacher's layers, or give it hints.
# - Distil a language model from probabilities, from text alone, and on what the student writes.
# - Teach one ability, and check that the others were not carried.
# - Say why a better teacher need not make a better student.
# - Write soft targets, the distillation loss, its gradient at a high temperature, and a copy of layers.

# %% jupyter={"source_hidden": true}
quiz("distillation", [
    Question("A higher temperature makes the teacher's probabilities", {
        "more alike, in the same order": "Yes: the logits are divided, so their order stays.",
        "more alike, in another order": "Dividing by one number never changes which logit is larger.",
        "sharper": "That is what a temperature below 1 does.",
    }, answer="more alike, in the same order"),
    Question("A student has never seen an 8, and yet finds most of them, because", {
        "it guesses among all ten digits": "A student of labels could guess too, and finds none.",
        "the soft labels of other digits say how much like an 8 each one is":
            "Yes: the output for 8 is trained by every image, with a small target.",
        "its weights were copied": "Nothing was copied: only the teacher's outputs were used.",
    }, answer="the soft labels of other digits say how much like an 8 each one is"),
    Question("A student has a hundredth of the teacher's weights. A single answer takes it", {
        "a hundredth of the time": "Starting each operation costs the same, however small it is.",
        "less time, by a factor that must be measured": "Yes: for one small question it can be near 1.",
        "the same time, always": "In a large batch the multiplications dominate.",
    }, answer="less time, by a factor that must be measured"),
    Question("You can read what a teacher writes, and nothing else. You can still", {
        "copy its layers": "For that you need its weights.",
        "match its probabilities": "Text shows what was drawn, and not how likely it was.",
        "train the student on its text": "Yes: sequence-level distillation.",
    }, answer="train the student on its text"),
    Question("A student agrees with its teacher on 99 % of the images. It is", {
        "as accurate as the teacher": "Not surely: agreement says nothing of who is right where they differ.",
        "within one point of the teacher's accuracy": "Yes: where they agree, they are right and wrong together.",
        "better than the teacher": "It may be, by up to one point, and it may be worse.",
    }, answer="within one point of the teacher's accuracy"),
])

# %% [markdown]
# **Further reading.** Hinton, Vinyals and Dean 2015, *Distilling the Knowledge in a Neural Network*. Buciluǎ, Caruana
# and Niculescu-Mizil 2006, *Model Compression*. Ba and Caruana 2014, *Do Deep Nets Really Need to be Deep?*. Romero et
# al. 2015, *FitNets*. Kim and Rush 2016, *Sequence-Level Knowledge Distillation*. Sanh et al. 2019, *DistilBERT*.
# Stanton et al. 2021, *Does Knowledge Distillation Really Work?*. Beyer et al. 2022, *Knowledge Distillation: A Good
# Teacher is Patient and Consistent*. Agarwal et al. 2024, *On-Policy Distillation of Language Models*.
#
# **Next:** [00 Start here](00_start_here.ipynb) has the course map.
