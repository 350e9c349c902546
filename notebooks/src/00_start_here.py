# %% [markdown]
# # Start here
#
# This course is about how models are trained: **weight initialization, pretraining, fine-tuning and knowledge
# distillation**. Real PyTorch models train on this machine, in front of you, in seconds, and you turn the knobs while
# they do.
#
# **Time:** 20 minutes. **Know first:** a little Python, and roughly what a neural network is.
#
# After this notebook you can
#
# - say in a sentence each what pretraining, fine-tuning, distillation and initialization are,
# - work a live panel: start, pause, step, reset, pin, and turn a knob,
# - say what your machine offers for this course,
# - use a prediction, an exercise check and a claim.

# %% [markdown]
# ## One model's life
#
# ![initialize, pretrain, fine-tune, distil, use](images/life.svg)
#
# | stage | what happens | notebook |
# |---|---|---|
# | **initialize** | every weight gets a first random value | [04 Initialization](04_initialization.ipynb) |
# | **pretrain** | the model learns a whole language from plain text | [01 Pretraining](01_pretraining.ipynb) |
# | **fine-tune** | the trained model learns one task | [02 Fine-tuning](02_fine_tuning.ipynb) |
# | **distil** | a small model learns from the large one | [03 Distillation](03_distillation.ipynb) |
# | **use** | the model answers and writes | [01 Pretraining](01_pretraining.ipynb), section 8 |
#
# Each notebook starts from a checkpoint, so any of them can be opened first. The usual order is 01, 02, 03, 04.
# Inside a notebook, sections use what earlier ones made. To begin in the middle, open that section and choose *Run >
# Run All Above Selected Cell*.
#
# - **Pretraining** is no special algorithm. The word only says that the model has been trained already when you get
#   it. It is the P in GPT (generative pretrained transformer). People use such models through a commercial API, such
#   as OpenAI's, or as weights to download, such as Llama 2 and many smaller ones.
# - **Fine-tuning** goes on training such a model, for a task. **Re-training** is usually another word for the same.
# - In **knowledge distillation** a large trained *teacher* trains a small *student*. Afterwards only the student
#   answers: it is cheaper, faster, and keeps most of the accuracy. Often it needs only some of the teacher's
#   abilities. What is handed over ranges from the teacher's outputs over its internal values to its weights.
# - **Initialization** is where training starts. Training moves weights in small steps, so a good start saves many of
#   them, and a bad one can stop learning. All zeros does not work. Which start is best is an open question with many
#   papers.

# %% [markdown]
# ## A first live panel
#
# The panel below trains a small **GPT**, a network that guesses the next word, to write short stories in a language
# of 116 words and punctuation marks. Its **loss** says how badly it guesses: 0 is perfect, and higher is worse. The
# unit is the *nat*; notebook 01 gives the formula. The **learning rate** says how far each step moves the weights,
# and the **width** how many numbers the model keeps for each word. Nothing is precomputed: Start begins with random
# weights, and every step you see is a real one.
#
# Before you start, make a **prediction**. Most sections of this course begin with one. A wrong guess that you
# made yourself teaches more than a right answer that you read.

# %%
from chapters.start.checks import check
from chapters.start.course_map import course_map
from chapters.stories import story_panel, story_recipe
from course_utils import data
from course_utils.lesson import claim, predict, recall, written

predict(
    "start-text",
    "What does a GPT with random weights write?",
    options=["nothing", "words in no order", "broken sentences", "stories that contradict themselves"],
)

# %% [markdown]
# 1. Before anything else, read what the model writes with its random weights.
# 2. Press **Start**. The loss falls, and the sample is rewritten every 50 steps as the model learns.
# 3. Press **Pause**, then **Step** a few times: one training step each. Start goes on.
# 4. While it trains, move the **learning rate** to its upper end and watch. A mark on the curve shows where.
# 5. Press **Reset**: step 0, with the same first weights and the same batches. The learning rate stays where you put
#    it. **Defaults** puts every control back, too.
# 6. Let a run finish and press **Pin** to keep its curve. Choose another width, press Start, and compare.
#
# *Knobs* act at once, also in the middle of a run. *Settings* begin a new run. With the keyboard: Tab moves between
# controls, the arrow keys move a slider, Enter presses a button.

# %%
panel = story_panel(title="A GPT learns to write stories", settings=["width"], knobs=["lr"])
panel

# %%
recall(
    "start-text",
    answer="words in no order",
    because="random weights give almost every word the same chance, whatever came before. The order of words comes "
    "with training, and keeping the facts of a story straight comes last.",
)

# %% [markdown]
# The dotted lines are **levels** that the loss can be measured against. The lowest, the *floor*, is the uncertainty
# that the stories really contain, their *entropy*: nobody can know the colour of a ball before it is said. We made the
# language, so we know the floor exactly, and no model can have a lower loss in the long run. Notebook 01 explains each
# of the levels.
#
# ## What this machine is

# %%
from chapters.start.machine import MachineCard

MachineCard(story_recipe(measured=False))

# %% [markdown]
# ## Exercises and claims
#
# An **exercise** gives you a function to fill in. The check below it never stops the notebook: it says what is missing,
# with a hint if it recognizes the mistake.
#
# **Exercise.** A model gives each of `n` words the same probability. Return its loss in nats, that is the natural
# logarithm of how many words it hesitates between.

# %%
import math


def uniform_loss(n):
    ...


check("uniform-loss", uniform_loss)

# %% jupyter={"source_hidden": true} tags=["solution"]
def uniform_loss_solution(n):
    return math.log(n)


check("uniform-loss", uniform_loss_solution, solution=True)

# %% [markdown]
# A section ends with a **claim**: a statement that a cell checks by running the experiment, over several seeds where
# chance plays a part. (A **seed** fixes the random numbers: the same seed, the same run.) A tick means that it held on
# *this* machine, now. A ● in its place means that it rests on stored runs, which take longer than you would wait.

# %%
losses = [story_recipe(measured=False).start(seed).step() for seed in range(10)]
words = len(data.STORY_VOCAB)
level = written(uniform_loss, uniform_loss_solution)(words)
claim(f"an untrained GPT's loss is within 10 % of ln {words} = {level:.2f} nats (10 seeds)",
      all(abs(loss / level - 1) < 0.1 for loss in losses))

# %% [markdown]
# ## The course, and how far you are
#
# Predictions, solved exercises and quizzes are remembered in a small file, `.progress.json`, beside the notebooks.
# It stays on this machine, and you may delete it at any time.
#
# A notebook that you open again another day has no kernel yet: where its panels were, it shows their last pictures and
# the words *Not live*. Run its cells, and they live again.

# %%
course_map()

# %% [markdown]
# ## What you can do now
#
# - Say in a sentence each what pretraining, fine-tuning, distillation and initialization are.
# - Work a live panel: start, pause, step, reset, pin, and turn a knob.
# - Say what your machine offers for this course.
# - Use a prediction, an exercise check and a claim.
#
# **Next:** [01 Pretraining](01_pretraining.ipynb)
