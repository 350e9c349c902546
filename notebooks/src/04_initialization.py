# %% [markdown]
# # 04 Initialization
#
# Before a network learns anything, each of its weights has a number. Which ones? In this notebook you see what happens
# to a signal on its way through a network with different first weights, train networks from all of them, and find out
# when the choice of a **start**, the rule for the first weights, decides everything and when it hardly matters.
#
# **Time:** 175 minutes, or 60 for sections 2 to 4. **Know first:** Python, and roughly what a neural network and a
# gradient are. [00 Start here](00_start_here.ipynb) shows how the panels work.
#
# After this notebook you can
#
# - say how much memory training takes, and whether it fits on your machine,
# - explain why weights must not all start alike,
# - compute what a layer does to the size of a signal, and derive the starts of LeCun, Glorot and He from it,
# - say how deep a network may be for a given start, and check it by training,
# - read the loss at step 0, and say what it does not tell,
# - keep a residual stream from growing with depth,
# - fit a start to data, layer by layer,
# - say why the best learning rate moves with the width, and how to stop it,
# - start from a trained model, also from a wider one, and say when that hurts,
# - choose a start, and say what normalization, residuals and the optimizer forgive.
#
# To begin in the middle, open that section and choose *Run > Run All Above Selected Cell*: a section uses what earlier
# ones made.

# %%
import math
from functools import partial

import numpy as np
import torch

from chapters.initialization import board, deep, slicing, starts, widths
from chapters.initialization import panel_board as boards
from chapters.initialization import studies as nets
from chapters.initialization.checks import check
from chapters.initialization.memory import parameter_count, training_memory

# %%
from chapters.initialization.panel_depth import boundary, map_panel, starts_panel
from chapters.initialization.panel_initialization import MemoryPanel, symmetry_panel
from chapters.initialization.panel_signal import signal_lab, spread_panel
from chapters.initialization.panel_starts import deep_panel, first_loss_panel, lsuv_panel, scales_panel, stream_panel
from chapters.initialization.probes import probe
from chapters.initialization.studies import STUDIES as studies
from chapters.initialization.theory import edge_of_chaos
from chapters.stories import held_out_loss, story_recipe
from course_utils import checkpoint, data, initialization, models, sweeps, training
from course_utils.lesson import Question, above, claim, interval, predict, quiz, recall, written
from course_utils.runtime import generator

# %% [markdown]
# ## 1. What fits
#
# *Memory initialization* can also mean something else: asking the operating system for the memory that a model needs.
# (A system may promise more memory than it has, hand it out only when somebody writes to it, and then end the
# program.) So, before any weight gets a value: does it fit?
#
# Training holds four things at once:
#
# | what | numbers for each weight | why |
# |---|---|---|
# | **weights** | 1 | the model |
# | **gradients** | 1 | which way to move each weight |
# | **optimizer** | 2 with Adam, 0 with plain SGD | Adam keeps a mean of the gradient and of its square |
# | **activations** | depends on the batch | what each layer gave, because the backward pass needs it |
#
# A number takes 4 bytes in float32, so with Adam each weight costs 16 bytes. Activations come on top, and they grow
# with the batch. (The panel also counts a little *working* memory, which one operation needs for a moment.)

# %%
predict(
    "fits",
    "Llama-2-70B has 69 billion weights. How many GPUs of 80 GB must share its training with Adam in float32, before "
    "a single activation is counted?",
    options=["1", "4", "14", "140"],
)

# %% [markdown]
# Choose a model, and move the batch. **Precision** bfloat16 stores weights, gradients and activations in 2 bytes each,
# and the optimizer then keeps an exact copy of each weight. **Checkpointing** keeps only what each block of a model
# reads, and computes the rest a second time on the way back: less memory for about a third more time (Chen et al.
# 2016). *Try one step here* trains a real step, or says why it does not.

# %%
MemoryPanel()

# %%
billions = parameter_count("llama-2-70b") / 1e9
need = training_memory("llama-2-70b")
held = (need.weights + need.gradients + need.optimizer) / 1e9
print(f"{billions:.1f} billion weights x 16 bytes = {held:,.0f} GB = {held / 80:.1f} GPUs of 80 GB")

# %%
recall(
    "fits",
    answer="14",
    because="4 bytes for each weight, 4 for its gradient and 8 for Adam's two means make 1,104 GB. bfloat16 does not "
    "change this sum: 2 + 2 + 8, and 4 for the exact copy.",
)

# %% [markdown]
# A count is worth something if it agrees with what happens. Below, two real training steps are watched tensor by
# tensor, and the most that was held at one time is compared with the count.

# %%
def peak(model, batches):
    """The most bytes that the tensors of the first two steps hold at one time."""
    def two_steps():
        run = training.Experiment(model=model, batches=batches).start(0)
        return run.step(), run.step(), run
    nets.digit_batches(generator(0))  # the images are in memory, whoever trains
    return training.peak_memory(two_steps)


gpt = models.GPT(models.GPTConfig(vocab_size=116))

# %%
shapes = [(64, 128, 10), (64, *[64] * 30, 10), (64, 1024, 1024, 10)]
ratios = [training_memory(models.MLP(sizes), batch=32).total
          / peak(lambda _, sizes=sizes: models.MLP(sizes), nets.digit_batches) for sizes in shapes]
ratios.append(training_memory(gpt, batch=16).total
              / peak(lambda _: models.GPT(gpt.config),
              story_recipe(measured=False).batches))
claim("the count is within 10 % of the measured peak, for three digit networks and the story GPT",
      all(abs(ratio - 1) < 0.1 for ratio in ratios), worst=max(ratios, key=lambda ratio: abs(ratio - 1)))

# %%
seven, six = training_memory("llama-2-7b"), training_memory("gpt2", batch=6)
saved = training_memory("llama-2-7b", checkpointing=True)
claim("checkpointing cuts the activations of Llama-2-7B to less than a fifth",
      saved.activations < seven.activations / 5)
claim("six rows need six times the activations of one, and the same for everything that goes with the weights",
      six.activations == 6 * training_memory("gpt2").activations
      and six.weights == training_memory("gpt2").weights)

# %% [markdown]
# ## 2. Why not zeros?
#
# Training moves weights in small steps, so it should matter little where they begin. Why not begin with zeros? Or, if
# zeros are too empty, with the same small number everywhere?
#
# Take a network with one hidden layer of 8 units. Each **unit** multiplies the 64 pixels of a digit with its own 64
# weights, adds them up, and applies tanh, a curve that stays between −1 and 1. The output layer weighs the 8 answers
# to give each of the ten classes a score.

# %%
predict(
    "zeros",
    "All weights start at 0.01. What have the 8 hidden units become after 400 steps of training?",
    options=["8 different units", "8 copies of one unit that has learned something", "nothing: no weight has moved"],
)

# %%
symmetry_panel()

# %% [markdown]
# 1. **constant**: eight curves lie on one another. Only one can be seen, and it moves.
# 2. **zeros**: nothing moves but the output's biases. The loss stays at that of a network that ignores the picture.
# 3. **constant** with noise 1e-6, 1e-4, 1e-2: a millionth is enough. When do the curves part, and what does the loss
#    do then?
#
# ### Why
#
# Call the weights into a hidden unit w, its output h = tanh(w · x), and its weights to the classes v. The chain rule
# gives two gradients:
#
# - for v: the error of each class, times **h**,
# - for w: x times (the errors weighed by **v**) times the slope of tanh there.
#
# In words: what a unit learns depends on what goes in, on its own answer and on its own outgoing weights, and on
# nothing else. Two units with equal w and equal v get equal gradients, so they are equal after the step, and after
# every step. They work like one unit that is written down eight times.
#
# With zeros it is worse. h = 0, so v gets no gradient. v = 0, so w gets none. Only the output's biases learn, and they
# find out how frequent each class is.
#
# Random numbers have one first task: to make units different. It is called **breaking the symmetry**.

# %% [markdown]
# ### Exercise: how many different units?
#
# `incoming` holds the weights into the hidden units, a row for each unit. `outgoing` holds the weights out of them, a
# **column** for each unit. Two units are the same if all of these agree exactly. How many different units are there?

# %%
def different_units(incoming, outgoing):
    """incoming: (hidden, inputs); outgoing: (outputs, hidden) -> a number"""
    ...


check("different-units", different_units)

# %% jupyter={"source_hidden": true} tags=["solution"]
def different_units_solution(incoming, outgoing):
    units = torch.cat([incoming, outgoing.T], dim=1)  # (hidden, inputs + outputs)
    return len(torch.unique(units, dim=0))


check("different-units", different_units_solution, solution=True)

# %%
def after(steps, scheme, optimizer, seed, **options):
    """A network with two hidden layers of 16 units, trained from this start."""
    def build(rng):
        return initialization.initialize_(models.MLP([64, 16, 16, 10]), scheme, generator=rng, **options)
    knobs = {"lr": 0.1 if optimizer == "sgd" else 0.01}
    recipe = training.Experiment(model=build, batches=nets.digit_batches, optimizer=optimizer, steps=steps, knobs=knobs)
    return training.finish(recipe.start(seed)).model


distinct = written(different_units, different_units_solution)


def counts(model):
    first, second, last = (layer.weight.detach().cpu() for layer in model.layers)
    return {int(distinct(first, second)), int(distinct(second, last))}

# %%
trained = {scheme: [after(100, scheme, optimizer, seed) for optimizer in ("sgd", "adamw") for seed in range(10)]
           for scheme in ("zeros", "constant", "he")}
for scheme in ("zeros", "constant"):
    claim(f"from {scheme}, all 16 units of a layer are bitwise the same after 100 steps (SGD and AdamW, 10 seeds)",
          all(counts(model) == {1} for model in trained[scheme]))
claim("from random weights, all are different (SGD and AdamW, 10 seeds)",
      all(counts(model) == {16} for model in trained["he"]))

# %%
split = data.digits_split()
whole = [(split.train_images, split.train_labels)]


def silent(model):
    """The parameters whose gradient is exactly 0."""
    training.default_loss(model, whole[0]).backward()
    return {name for name, weight in model.named_parameters() if (weight.grad == 0).all()}

# %%
start = initialization.initialize_(models.MLP([64, 16, 16, 10]), "zeros")
names = {name for name, _ in start.named_parameters()}
claim("from zeros, every gradient is exactly 0, but that of the output's biases",
      silent(start) == names - {"layers.2.bias"})
last = training.fit(start, whole, steps=300, lr=0.5, optimizer="sgd").loss[-1]
claim("and the loss stays at the entropy of the classes, ln 10 to within 0.01",
      abs(last - nets.training_class_entropy()) < 1e-4 and abs(last - math.log(10)) < 0.01, loss=last)

# %%
def accuracy(noise):
    """The share of test digits guessed right after 400 steps, for 10 seeds trained side by side."""
    recipe = nets.symmetry_recipe(noise=noise)
    return sweeps.train_many(recipe.model, recipe.batches, steps=400, lr=0.3, seed=range(10), optimizer="sgd",
                             test=(split.test_images, split.test_labels)).accuracy


alike, apart = accuracy(0.0), accuracy(1e-4)
claim("8 units that start alike guess fewer than two thirds of the digits right (10 seeds)", alike.max() < 2 / 3)
claim("with noise of 0.0001 on their weights, they guess over 85 % right (10 seeds)", apart.min() > 0.85)

# %%
recall(
    "zeros",
    answer="8 copies of one unit that has learned something",
    because="equal units get equal gradients. The network learns what a single unit can tell about a digit.",
)

# %% [markdown]
# One footnote on *bitwise*. Mathematics says that equal units stay equal for any width. A processor adds numbers in
# some order, and rounds. With 16 units it treats all alike. With 10 it may add the last ones up in another order, so
# that they come to differ in the last digit, and you saw what becomes of a small difference.

# %% [markdown]
# ## 3. A signal through many layers
#
# Random numbers, then. How large? Call what a layer hands to the next one its **signal**, and measure how large it is
# by its **mean square**: the average of the squared values. Follow the signal into one unit of a layer. It gets n
# inputs x₁ … xₙ, and adds them up, each times its own weight: z = w₁x₁ + … + wₙxₙ. Let the weights be drawn
# independently, with mean 0 and variance Var(w). Write E for the average over all networks that the dice could give.
# Products of two different terms then average to 0, and what stays is
#
# > E z² = n · Var(w) · (the mean square of the inputs).
#
# In words: a layer multiplies the mean square of its signal by n times the variance of its weights. **ReLU**, which
# replaces negative values by 0, takes half of it away, because z is as often negative as positive. So with ReLU the
# factor is n · Var(w) / 2, and after L layers it is that to the power of L.
#
# On the way back the gradient meets the same weights, and its mean square is multiplied by the same factor (with the
# number of outputs for n, which is the same where all layers are alike).
#
# This one formula is behind most rules that have a name:

# %%
for name, scheme in initialization.INIT_SCHEMES.items():
    print(f"{name:14} {scheme.formula:62} {scheme.paper}")

# %% [markdown]
# Here n is the number of inputs of a layer (its *fan-in*), and m that of its outputs (*fan-out*). W is a matrix of
# weights. N(0, v) draws from a normal distribution with mean 0 and variance v, U(±a) evenly between −a and a. The last
# four come back in sections 5, 6 and 8.
#
# ### Exercise: the std that keeps a signal alive
#
# A **leaky ReLU** passes z where it is positive, and s · z where it is negative. With s = 0 it is ReLU, with s = 1 it
# does nothing. Which standard deviation of the weights keeps the mean square of the signal as it is, from layer to
# layer?

# %%
def he_std(fan_in, slope):
    """-> the standard deviation of the weights of a layer with `fan_in` inputs"""
    ...


check("he-std", he_std)

# %% jupyter={"source_hidden": true} tags=["solution"]
def he_std_solution(fan_in, slope):
    kept = (1 + slope**2) / 2  # half of the mean square, and slope² of the other half
    return math.sqrt(1 / (fan_in * kept))


check("he-std", he_std_solution, solution=True)

# %%
predict(
    "vanish",
    "30 ReLU layers start with N(0, 1/n), without He's factor 2. What is left of the signal's mean square at the end?",
    options=["about a half", "about a thirtieth", "about a billionth"],
)

# %% [markdown]
# The lab sends 128 digits through a network that has not learned anything, and their gradients back. Each digit is
# scaled to a mean square of 1. Dots are measured in this one network, and the line beside them is theory. The lower
# pictures are histograms: each row is a layer, bright where many of its values lie.

# %%
signal_lab()

# %% [markdown]
# 1. **he**, then **lecun**: both curves, forward and backward. The vertical axis is logarithmic.
# 2. **lecun** with tanh: it works much better here. Why? (tanh passes small values as they are.)
# 3. **he** with tanh: what happens to the histograms of the activations?
# 4. **norm** (LayerNorm) brings the units of a layer to mean 0 and mean square 1 before the activation, **residual**
#    adds each layer's input to its output. Turn them on: which starts still differ?
# 5. **he**, 8 units per layer, seeds 0 to 3. How far apart are they? One of them is *born dead*: in some layer every
#    unit answers 0 to every digit, and nothing passes. Then 256 units.
# 6. Type 1000000 into the box of the units per layer.
#
# ### A flat curve that hides a dead network
#
# Look at **lecun** with ReLU once more. The back-propagated gradient falls by nine powers of ten from the last layer to
# the first. But the gradient *of the weights*, the third curve, is flat. A monitor that compares the layers' weight
# gradients with each other would see nothing unusual. Only their height gives them away, far below He's.
#
# The gradient of a weight is a product: the signal that comes in, times the gradient that comes back. Early layers have
# a large signal and a tiny gradient, late layers the other way round, and the product is equally tiny everywhere.
# So plot both.

# %%
def at_start(slope, seed, depth=30):
    """Statistics of a network with 128 units a layer, drawn for leaky ReLUs of this slope, before any training."""
    model = models.MLP([64, *[128] * depth, 10])
    initialization.initialize_(model, "normal", std=1.0, generator=generator(seed))
    for layer in model.layers:
        layer.weight.data *= float(std_of(layer.in_features, slope))
    with probe(model) as seen:
        training.default_loss(model, nets.unit_digits(128)).backward()
    return seen


std_of = written(he_std, he_std_solution)
he, lecun = ([at_start(slope, seed) for seed in range(10)] for slope in (0, 1))  # for ReLU, and for no ReLU at all

# %%
def size(seen, kind, layer):
    return getattr(seen, kind)[layer].second_moment


lost = [size(a, "activations", "layer 30") / size(b, "activations", "layer 30") for a, b in zip(lecun, he, strict=True)]
claim("with the same dice, what LeCun leaves after 30 ReLU layers is 2⁻³⁰ of what He leaves, to 0.1 % (10 seeds)",
      all(abs(ratio * 2**30 - 1) < 1e-3 for ratio in lost))
back = [size(seen, "gradients", "layer 1") / size(seen, "gradients", "layer 30") for seen in lecun]
claim("LeCun: the gradient's mean square at layer 1 is under a millionth of that at layer 30 (10 seeds)",
      max(back) < 1e-6)
flat = [[size(seen, "weight_gradients", f"layers.{layer}.weight") for layer in range(1, 30)] for seen in lecun]
claim("but over the 29 hidden weight matrices, gradients differ less than 30-fold in mean square (10 seeds)",
      max(max(row) / min(row) for row in flat) < 30, largest=max(max(row) / min(row) for row in flat))

# %%
recall(
    "vanish",
    answer="about a billionth",
    because="each layer halves it, and 2⁻³⁰ is 9.3e-10 (He et al. 2015). A factor of 2 looks like a detail, and it "
    "decides everything here, because it is taken to the power of the depth.",
)

# %% [markdown]
# ### Theory and measurement
#
# How good are such formulas? For linear and ReLU networks the mean is **exact** at any width: an average over all
# networks that the dice could give. For tanh and GELU one follows the variance q of z through the layers, as if z were
# normally distributed, which is right when layers are wide:
#
# > q → σ_w² · E[f(√q · u)²] + σ_b²
#
# Here f is the activation, u a standard normal number, σ_w² = n · Var(w), and σ_b² the variance of the biases (Poole et
# al. 2016). In words: the mean square of what comes in, times n · Var(w), plus what the biases add.
#
# The claims below use stored networks of 50 layers. (A ● begins a claim about stored runs. Where it compares two
# settings, it shows the mean difference over seeds and its 95 % interval: 01, section 3.)

# %%
def moments(activation, width):
    """Mean squares by depth of stored networks: (networks, depths)."""
    return np.array([row["moments"] for row in studies.stored("moments", activation=activation, width=width)])


for activation in ("linear", "relu"):
    found = moments(activation, 256)
    error = np.abs(found.mean(0) - 1) / (found.std(0, ddof=1) / len(found) ** 0.5)
    claim(f"{activation}: down to 50 layers the mean over networks is within 3 standard errors of theory "
          "(200 stored seeds)", error.max() < 3, stored=True, standard_errors=error.max())
for activation in ("tanh", "gelu"):
    measured = moments(activation, 1000).mean(0)
    error = np.abs(measured / nets.expected_moments(activation) - 1)
    claim(f"{activation}: at width 1,000 it is within 5 % of theory (20 stored seeds)", error.max() < 0.05,
          stored=True, error=error.max())

# %%
again = studies.run_point("moments", activation="relu", width=256, seed=0)["moments"]
claim("one of the stored networks, made again now, agrees to 0.1 %",
      np.allclose(again, moments("relu", 256)[0], rtol=1e-3))

# %% [markdown]
# The mean over all networks is one thing, a single network another. Each layer adds some luck, and luck multiplies.
# After L layers of n units, ln(mean square) has spread by about √(5 L/n) with ReLU and He. Plot it against depth, then
# against depth / width.

# %%
spread_panel()

# %%
for width in (256, 1000):
    spread = np.log(moments("relu", width)[:, -1]).std(ddof=1)
    expected = math.sqrt(5 * 50 / width)
    claim(f"after 50 layers of {width} units, the spread is within 30 % of √(5 L/n)",
          abs(spread / expected - 1) < 0.3, stored=True, spread=spread, expected=expected)
narrow, wide = (np.log(moments("relu", width)[:, -1]).std(ddof=1) for width in (64, 1000))
claim("64 units spread over twice as far as 1,000", narrow > 2 * wide, stored=True)

# %% [markdown]
# ### Every direction, and the edge of chaos
#
# A mean is not all. An **orthogonal** matrix keeps the length of *every* signal, not only on average: it only turns
# it. So a deep linear network keeps all directions apart, and learns as fast as a shallow one (Saxe et al. 2013). A
# ReLU in between spoils that.
#
# For tanh there is one σ_w for each σ_b at which gradients neither vanish nor explode, the **edge of chaos**. Below it
# two different inputs become the same after some layers; above it two nearly equal inputs become as different as any.

# %%
def stretches(activation):
    """How much the product of 30 orthogonal layers stretches each direction: its singular values."""
    model = models.MLP([64] * 31, activation=activation)
    initialization.initialize_(model, "orthogonal", generator=generator(0))
    product = torch.autograd.functional.jacobian(model, torch.ones(64))
    return torch.linalg.svdvals(product)


claim("30 orthogonal linear layers: all singular values of the product are 1 to within 0.00001",
      (stretches("linear") - 1).abs().max() < 1e-5)
claim("with ReLU in between: the smallest is below 0.001", stretches("relu").min() < 1e-3)
edges = {variance: edge_of_chaos(variance**0.5, "tanh") ** 2 for variance in (0.01, 0.05, 0.1)}
published = {0.01: 1.4242, 0.05: 1.7610, 0.1: 1.9861}
claim("tanh: the critical σ_w² is 1.4242, 1.7610 and 1.9861 for σ_b² of 0.01, 0.05 and 0.1 (to 0.001)",
      all(abs(edges[variance] - published[variance]) < 1e-3 for variance in published))

# %% [markdown]
# ## 4. Then train them all
#
# Statistics at the start are worth looking at if they tell what training will do. So: networks of 30 layers, one from
# each start, all trained at the same time on the same digits. (Networks of one shape can share every operation, which
# saves time as long as they are small.)
#
# The starts are those of the table above. **LSUV** is the one that looks at data: it scales layer after layer until
# what the layer gives has variance 1 (section 7).
#
# The optimizer is plain **SGD**, on purpose. Adam divides each gradient by its own recent size, which makes up for
# gradients that are too small or too large: it rescues many bad starts, and would hide what they do. Section 10 comes
# back to that.

# %%
predict(
    "train-all",
    "Which starts train a ReLU network of 30 layers with SGD in 800 steps?",
    options=["all but zeros and the constant", "those that keep the signal: He, orthogonal x √2, LSUV", "none of them"],
)

# %%
starts_panel()

# %% [markdown]
# 1. Start it, and watch the loss. A flat line at ln 10 = 2.3 is a network that knows nothing.
# 2. **3 layers**: does the start matter now?
# 3. **10 layers**, then **50**: who drops out first?
# 4. **tanh** with 10 layers: the picture changes. Which rule was made for which activation?
# 5. Three runs: how far do the seeds differ?

# %%
def right(start):
    """The share of test digits that the stored networks of 30 layers guess right, by seed."""
    return studies.column("deep_starts", start)

# %%
claim("He: 60 % or more of the test digits (10 stored seeds)", min(right("he")) >= 0.6, stored=True)
claim("Xavier: 20 % or fewer (10 stored seeds)", max(right("xavier")) <= 0.2, stored=True)
claim("zeros, N(0, 0.02²), PyTorch's uniform and LeCun: 20 % or fewer, too (10 stored seeds)",
      all(max(right(start)) <= 0.2 for start in ("zeros", "normal 0.02", "uniform", "lecun")), stored=True)
claim("orthogonal times √2, and LSUV: 60 % or more (10 stored seeds)",
      min(right("orthogonal x √2") + right("lsuv")) >= 0.6, stored=True)
pairs = [(right(start), right("he")) for start in ("orthogonal x √2", "lsuv")]
claim("and both guess more right than He", all(above(*pair) for pair in pairs),
      found=[interval(*pair) for pair in pairs], unit="points")

# %%
again = training.finish(nets.deep_recipe(starts=["he", "xavier"]).start(0)).history
claim("two of the stored networks, trained again now: He reaches 60 %, and Xavier does not reach 20 %",
      again["xavier: right"].last <= 0.2 < 0.6 <= again["he: right"].last)

# %%
recall(
    "train-all",
    answer="those that keep the signal: He, orthogonal x √2, LSUV",
    because="with LeCun's or Xavier's start, what comes back to the first layers has a billionth of its mean square, "
    "and 800 such steps move next to nothing. With 3 layers the factor is only 1/8, and these starts train, too.",
)

# %% [markdown]
# He et al. (2015) saw the same on images: with 30 layers Xavier's start stalled, and theirs learned. With 22 layers
# both learned. (And their 30-layer network ended *worse* than one of 14 layers. A good start makes a deep network
# trainable, and does not make it good. Residual connections came the same year.)
#
# ### A map of depth and scale
#
# How deep may a network be, for a given scale of its weights? For tanh, theory has an answer. Over about ξ layers
# (the *correlation length*) a factor e is lost of what tells two inputs apart, or, beyond the edge of chaos, of what
# similar inputs have in common. Where nothing of that is left, nothing can be learned, and a network should be
# trainable down to about 6 ξ layers (Schoenholz et al. 2017). At the edge of chaos, here at σ_w² = 1.76, ξ is infinite.

# %%
predict(
    "map",
    "Which scale σ_w² lets a tanh network of 32 layers learn?",
    options=["one near 1.76", "any below 1.76", "any above 1.76"],
)

# %% [markdown]
# The map trains 36 networks at once, one for each field. Dark fields have learned nothing, yellow ones nearly all. The
# dashed line is 6 ξ; where it runs along the top, theory allows more than 32 layers.

# %%
map_panel()

# %%
fields = np.mean([row["right"] for row in studies.stored("depth_scale")], axis=0)  # (depths, scales)
allowed = np.array([boundary(scale) for scale in nets.MAP_SCALES])
share = np.array(nets.MAP_DEPTHS)[:, None] / allowed  # (depths, scales)
claim("all networks of less than half the depth 6 ξ guess over 50 % of the digits right (8 stored seeds)",
      fields[share < 0.5].min() > 0.5, stored=True, lowest=fields[share < 0.5].min())
claim("all of more than twice that depth, three fields below the edge, guess under 50 % right (8 stored seeds)",
      (share > 2).sum() == 3 and fields[share > 2].max() < 0.5, stored=True, highest=fields[share > 2].max())
best = nets.MAP_SCALES[fields[-1].argmax()]
claim("with 32 layers, the best of the nine scales is one of the three around 1.76 (8 stored seeds)",
      1.5 <= best <= 2.2, stored=True, best=best)

# %%
recall(
    "map",
    answer="one near 1.76",
    because="below, all digits have become the same digit after 32 layers. Above, two pictures of the same digit have "
    "become as different as any two pictures.",
)

# %% [markdown]
# The line is no wall. Below the edge it is right to a factor of 2. Beyond it networks fail at three quarters of it
# already. Part of this is the learning rate, one for all 36 networks. Below the edge gradients shrink from layer to
# layer, beyond it they grow. So each side should want a rate of its own. Set it to 0.01 in the panel and run again, and
# then to 0.1: which side gains, and which one loses?

# %%
def field(depth, scale, lr):
    """Shares of digits right, by seed, of one field of the map."""
    if lr == 0.03:  # the map itself
        rows = [row["right"][nets.MAP_DEPTHS.index(depth)] for row in studies.stored("depth_scale")]
    else:
        rows = studies.column("depth_scale_rates", "right", depth=depth, lr=lr)
    return np.array(rows)[:, nets.MAP_SCALES.index(scale)]  # (seeds,)


# %%
pair = [field(32, 4.0, lr) for lr in (0.01, 0.03)]
claim("beyond the edge (32 layers, σ_w² = 4) a rate of 0.01 gets more right than 0.03", above(*pair),
      found=interval(*pair), unit="points")
pair = [field(16, 0.8, lr) for lr in (0.1, 0.03)]
claim("below the edge (16 layers, σ_w² = 0.8) a rate of 0.1 gets more right than 0.03", above(*pair),
      found=interval(*pair), unit="points")
claim("even so, 32 layers at σ_w² = 4 stay under 60 % on average, at all four rates (8 stored seeds)",
      max(field(32, 4.0, lr).mean() for lr in (0.003, 0.01, 0.03, 0.1)) < 0.6, stored=True)

# %% [markdown]
# Even so: theory gives the depth roughly, from two numbers and without a single training step.

# %% [markdown]
# ## 5. What the loss at step 0 tells, and what it does not
#
# A language model guesses the next token of a text. Ours is a small GPT, and its texts are short stories, made of
# V = 116 different tokens ([01 Pretraining](01_pretraining.ipynb) introduces both). If it knows nothing, it should give
# each token the probability 1/V. Its loss is then ln V. If the **logits** of an untrained model (its scores before the
# softmax) differ, it is confident without reason, and that costs. For logits with variance s, up to about 1:
#
# $$L \approx \ln V + \frac{s}{2} - \frac{e^s - 1}{2V}$$
#
# In words: random confidence costs half its variance, less a small correction that fades as V grows.
#
# How large is s? The last normalization of our GPT hands on vectors with a mean square of 1, in 64 dimensions. The
# output matrix is the embedding itself (the two are **tied**), with standard deviation e. So s = 64 e².

# %%
predict(
    "first-scale",
    "The embeddings are N(0, 1), the linear layers N(0, 0.02²). What is the loss at step 0 on the stories (V = 116)?",
    options=["about 4.75", "about 8", "above 20"],
)

# %%
first_loss_panel()

# %% [markdown]
# Move the embedding scale, then set it back to 0.1 and move the linear scale. With linear layers of 0.02 the measured
# loss leaves the formula early. The line above the picture says why: the logit of the token that was just read stands
# out. The layers add hardly anything to the stream, so it still holds the embedding of that token, and its product
# with itself is large. The model expects every word to come twice. Larger linear layers drown this, and the loss
# follows the formula.

# %%
recall(
    "first-scale",
    answer="above 20",
    because="it is about 44: the token just read gets a logit of about 44, and it hardly ever comes again.",
)

# %% [markdown]
# ### Exercise: the loss at step 0
#
# Logits are independent and N(0, std²), whatever the right token is. Return the loss to expect. The formula above is
# one way, drawing many logits another.

# %%
def loss_at_step_0(vocab, std):
    """vocab: number of tokens; std: of the logits -> a loss in nats"""
    ...


check("initial-loss", loss_at_step_0)

# %% jupyter={"source_hidden": true} tags=["solution"]
def loss_at_step_0_solution(vocab, std):
    variance = std**2
    return math.log(vocab) + variance / 2 - (math.exp(variance) - 1) / (2 * vocab)


check("initial-loss", loss_at_step_0_solution, solution=True)

# %%
def first(source, **scales):
    return [starts.first_loss(source=source, seed=seed, **scales) for seed in range(10)]


for source in starts.SOURCES:
    ln_v = starts.levels(source)["ln V"]
    claim(f"{source}: with embeddings of 0.02 the first loss is within 5 % of ln V (10 seeds)",
          all(abs(one.loss / ln_v - 1) < 0.05 for one in first(source, embedding=0.02, linear=0.02)))
loud = first("stories", embedding=1.0, linear=0.02)
claim("stories: at 1 it is above 30 nats, and the token just read is to blame: its logit is above 30 (10 seeds)",
      min(one.loss for one in loud) > 30 and min(one.own for one in loud) > 30)
expected = written(loss_at_step_0, loss_at_step_0_solution)(116, 8 * 0.1)  # the std of the logits is √64 · 0.1
claim("stories: at 0.1, with linear layers of 0.125, it is within 5 % of the formula (10 seeds)",
      all(abs(one.loss / expected - 1) < 0.05 for one in first("stories", embedding=0.1, linear=0.125)))

# %% [markdown]
# ### Does a bad first loss matter?
#
# Now train from different scales, on the course's own short stories and on a second source. That one has 8 symbols, and
# each depends on the two before it. The dashed lines in the panel are the **ladder** of a source: the loss of a model
# that knows nothing (ln V), that knows how frequent each token is (unigram), that looks at one token only (bigram), and
# that knows all there is to know (the floor). All are known exactly.
#
# The optimizer is AdamW, which forgives more bad starts than plain gradient descent (SGD). What you see here is what
# even AdamW does not forgive.

# %%
predict(
    "first-matters",
    "Embeddings of 1 and linear layers of 0.125 start far above ln V. Compared with GPT-2's 0.02 for both, they end",
    options=["worse on both sources", "worse on one, better on the other", "no worse: a few steps repair it"],
)

# %%
scales_panel()

# %% [markdown]
# 1. Markov, embeddings of 0.1, linear layers of 0.02, 0.125 and 0.5: pin each. Which one never leaves the bigram level?
# 2. Markov, embeddings of 1, linear layers of 0.02, and then 0.125.
# 3. Stories: embeddings of 1 with linear layers of 0.125, and then 0.02 for both. After 400 steps they are about level.
#    Set **steps** to 1000 and compare again.

# %%
def ended(source, embedding, linear, lr=5e-3, steps=400):
    """The unseen losses at the end, of the stored seeds."""
    chosen = {"source": source, "embedding": embedding, "linear": linear, "lr": lr, "steps": steps}
    return studies.column("scales", "loss", **chosen)


rungs = starts.levels("markov")


def way(*start):
    """How far the loss has come from the bigram level (0) to the floor (1), for each stored seed."""
    return (rungs["bigram"] - np.array(ended("markov", *start))) / (rungs["bigram"] - rungs["floor"])

# %%
claim("Markov, embeddings of 1, linear layers of 0.02: under a quarter of the way from bigram to floor "
      "(5 stored seeds)", way(1.0, 0.02).max() < 0.25, stored=True)
claim("embeddings of 0.02, linear layers of 0.5: no farther, although the first loss is ln V (5 stored seeds)",
      way(0.02, 0.5).max() < 0.25, stored=True)
loud = studies.column("scales", "first", source="markov", embedding=1.0, linear=0.125)
claim("embeddings of 1, linear layers of 0.125: a first loss above 15, and over three quarters (5 stored seeds)",
      min(loud) > 15 and way(1.0, 0.125).min() > 0.75, stored=True)
claim("at every embedding scale, all 5 stored runs with 0.125 = 1/sqrt(width) end below all with 0.02 and with 0.5",
      all(min(ended("markov", scale, other)) > max(ended("markov", scale, 0.125))
          for scale in (0.02, 0.1, 1.0) for other in (0.02, 0.5)), stored=True)
claim("four times the learning rate does not free the first of them (5 stored seeds)",
      way(1.0, 0.02, 2e-2).max() < 0.25, stored=True)

# %%
def told(*scales):
    return ended("stories", *scales, steps=1000)


claim("embeddings of 1, linear layers of 0.125: on the Markov source all 5 stored runs end above all of 0.02 for both",
      min(ended("markov", 1.0, 0.125)) > max(ended("markov", 0.02, 0.02)), stored=True)
claim("but on the stories all 6 end below", max(told(1.0, 0.125)) < min(told(0.02, 0.02)), stored=True)
claim("embeddings of 1, linear layers of 0.02: all 6 stored runs on the stories end above all with 0.02 for both",
      min(told(1.0, 0.02)) > max(told(0.02, 0.02)), stored=True)
claim("embeddings of 0.1, linear layers of 0.125: all 6 stored runs on the stories end below all of these",
      max(told(0.1, 0.125)) < min(told(0.02, 0.02) + told(1.0, 0.02) + told(1.0, 0.125)), stored=True)

# %%
best, near = np.array(told(0.1, 0.125)), np.array(told(0.1, 0.02))
claim("and within 4 % of the floor (6 stored seeds)", max(best) / starts.levels("stories")["floor"] < 1.04, stored=True)
claim("embeddings of 0.1, linear layers of 0.02: most of 6 stored seeds end within 0.01 nats of that",
      np.median(np.abs(near - best)) < 0.01, stored=True)
claim("but one of them ends more than 0.05 nats higher", (near - best).max() > 0.05, stored=True)

# %%
recall(
    "first-matters",
    answer="worse on one, better on the other",
    because="they end lower on the stories and higher on the Markov source.",
)

# %% [markdown]
# An honest puzzle, then. The first loss tells whether a model is confident without reason. It does not tell where it
# ends: with ln V at step 0 a model may get stuck, and with 26 nats it may end well. Which scale matters depends on the
# layer and on the task, and neither scale alone decides.
#
# What you can take home: embeddings of 0.1 with 1/sqrt(width) in the linear layers are best on both sources, or as good
# as the best. On the Markov source the linear scale decides more, on the stories that of the embeddings. (All of
# this at one learning rate, 0.005.) GPT-2's 0.02 is no constant of nature. It was chosen at width 768, where
# 1/sqrt(width) is 0.036; at width 64 it is 0.125.

# %% [markdown]
# ## 6. Residual streams
#
# A GPT does not hand its signal through one layer after the other. It adds: x + f(x). The sum that is handed on is the
# **residual stream**, and each f is a **branch**. A block of a GPT has two, attention and an MLP.
#
# Before training, branches give about independent numbers, and then their variances add. With a normalization at the
# beginning of each branch, every branch adds about the same, so after L blocks the stream's mean square has grown by
# 2L times that. Three remedies:
#
# - **1/sqrt(2L)**: divide the last layer of each branch by the root of their number. Together they then add as much as
#   one would. (GPT-2's paper says 1/sqrt(N), for N residual layers. Each block has two.)
# - **Zeroed**: the last layer of each branch starts at 0, so a block at first does nothing (Fixup, Zhang et al. 2019).
# - **Gated**: each branch is multiplied by a number of its own that starts at 0 (ReZero, Bachlechner et al. 2021).
#
# Why do these zeros not repeat section 2? Only the last layer of a branch is zero. What it reads is random and
# different for each unit, and the error reaches it along the stream. So its units differ after one step, and then the
# layers before it get a gradient, too. A gate does the same with a single number.

# %%
stream_panel()

# %% [markdown]
# Set the number of blocks to 6, 12, 24 and 48, and read the right-hand end of each curve. *Plain* about doubles each
# time. *1/sqrt(2L)* does not keep the stream at its first size: it makes the end independent of the number of blocks.

# %%
sizes = {start: [[starts.stream(blocks=blocks, start=start, seed=seed)[-1] for seed in range(5)]
                 for blocks in (6, 24)] for start in starts.BRANCHES}
grown = {start: np.mean(deep) / np.mean(shallow) for start, (shallow, deep) in sizes.items()}
claim("plain: with four times the blocks, the stream of a GPT is 3 to 5 times as large (5 seeds)",
      3 < grown["plain"] < 5, ratio=grown["plain"])
claim("1/sqrt(2L): less than 1.5 times (5 seeds)", grown["1/sqrt(2L)"] < 1.5, ratio=grown["1/sqrt(2L)"])
claim("zeroed: exactly as large (5 seeds)", sizes["zeroed"][0] == sizes["zeroed"][1])

# %% [markdown]
# ### Depth without normalization
#
# Our GPT normalizes the stream at the beginning of each branch and before the output, so even a stream that has grown a
# thousandfold is read at size 1. Take the normalization away, and growth has consequences. The panel trains a residual
# network on digits, with one layer of 32 GELU units a block, and plain gradient descent.

# %%
predict(
    "no-norm",
    "Without any normalization, a branch gives more the more it gets. What then happens to the stream in 64 blocks?",
    options=["it grows about 64-fold", "it grows more than a millionfold", "it does not grow"],
)

# %%
deep_panel()

# %% [markdown]
# 1. The plain start, 4 blocks, then 16, then 64.
# 2. The other three starts with 64 blocks. Pin each.
# 3. The plain start again, with AdamW: 16 blocks, then 64. How much does it forgive?

# %%
def first_size(start, blocks, seed):
    """Mean square of an untrained network's outputs on digits."""
    with torch.no_grad():
        return deep.deep_network(generator(seed), blocks=blocks, start=start)(split.train_images).square().mean().item()


def learned(start, lr, optimizer="sgd"):
    """Accuracy on unseen digits after 100 steps, of 3 seeds with 64 blocks; nan where a network diverged."""
    recipe = deep.deep_recipe(blocks=64, start=start)
    return sweeps.train_many(recipe.model, recipe.batches, steps=100, lr=lr, seed=range(3), optimizer=optimizer,
                             test=(split.test_images, split.test_labels)).accuracy

# %%
claim("without normalization, a plain stream ends over a million times as large after 64 blocks as after 4 (5 seeds)",
      all(first_size("plain", 64, seed) > 1e6 * first_size("plain", 4, seed) for seed in range(5)))
claim("plain: all networks of 64 blocks diverge with SGD, also at a learning rate of 0.00003 (3 seeds)",
      bool(learned("plain", 3e-2).isnan().all() and learned("plain", 3e-5).isnan().all()))
claim("AdamW at 0.001 keeps them from diverging, and no more: under 25 % right (3 seeds)",
      learned("plain", 1e-3, "adamw").max() < 0.25)
for start, lr in {"1/sqrt(blocks)": 3e-2, "zeroed": 3e-2, "gated": 1e-1}.items():
    claim(f"{start}, learning rate {lr}: 64 blocks learn, over 60 % right after 100 steps of SGD (3 seeds)",
          learned(start, lr).min() > 0.6)

# %%
recall(
    "no-norm",
    answer="it grows more than a millionfold",
    because="each block adds a share of what it gets, so the shares multiply, as with compound interest.",
)

# %% [markdown]
# ## 7. A start from data
#
# He's factor of 2 holds for ReLU. What about GELU, or a layer that nobody has computed anything for? Then measure
# instead. **LSUV** (layer-sequential unit-variance, Mishkin and Matas 2016) begins with orthonormal weights and takes
# the layers in order. It sends a batch through, and divides a layer's weights by the standard deviation of what the
# layer gives. Then the next layer, which already sees the new sizes.

# %%
lsuv_panel()

# %% [markdown]
# Press the arrow key on *layers scaled* and follow one layer at a time. While biases are zero, a layer's outputs are
# proportional to its weights, so one division is exact. (The paper repeats up to ten times, until the variance is
# within 0.1 of one.) All later layers move along, because they read what this one gives.

# %%
def lsuv_stds(activation, seed):
    """What each layer gives after LSUV on 256 images: on these images, and on 256 others."""
    images = data.digits_split(seed).train_images
    mlp = models.MLP([64, *[64] * 11, 10], activation=activation)
    initialization.initialize_(mlp, "lsuv", generator=generator(seed), inputs=images[:256])
    return [initialization.output_stds(mlp, part) for part in (images[:256], images[256:512])]


stds = [lsuv_stds(activation, seed) for activation in ("relu", "tanh", "gelu", "silu") for seed in range(5)]
seen, unseen = (np.array([run[part] for run in stds]) for part in (0, 1))  # (runs, layers)
claim("after LSUV every one of 12 layers has variance 1 ± 0.1, with ReLU, tanh, GELU and SiLU (5 seeds)",
      np.abs(seen**2 - 1).max() < 0.1)
claim("and on 256 other images 1 ± 0.4 (5 seeds)", np.abs(unseen**2 - 1).max() < 0.4)

# %% [markdown]
# ### Does it train better?
#
# Now plain networks: 20 hidden layers, no normalization, no residual, and plain gradient descent.

# %%
def twenty_layers(activation, scheme):
    """Accuracy on unseen digits after 200 steps, of 8 seeds."""
    build = partial(deep.plain_network, scheme=scheme, activation=activation)
    batches = data.row_batches(split.train_images, split.train_labels, batch_size=64)
    return sweeps.train_many(build, batches, steps=200, lr=1e-2, seed=range(8), optimizer="sgd",
                             test=(split.test_images, split.test_labels)).accuracy


found = {(activation, scheme): twenty_layers(activation, scheme)
         for activation in ("relu", "gelu") for scheme in ("he", "lsuv")}
claim("GELU: with He's start at most 20 % right, about chance (8 seeds)", found["gelu", "he"].max() <= 0.2)
claim("GELU: with LSUV more (8 seeds)", above(found["gelu", "lsuv"], found["gelu", "he"]))
claim("ReLU, for which He's start was made: with LSUV still more (8 seeds)",
      above(found["relu", "lsuv"], found["relu", "he"]))

# %% [markdown]
# GELU lets less through than ReLU, so after He's start the signal fades in 20 layers. ReLU is a surprise, because He's
# rule keeps the signal's size. Two things are left for LSUV. He keeps the size wherever it is, and the mean square of
# these images is well below 1. And He keeps it on average over networks: with 20 layers of 32 units, luck spreads
# ln(mean square) by √(5 · 20/32) = 1.8 (section 3), and most networks lose more than the mean says. LSUV measures the
# one network at hand. (All at one learning rate, 0.01.)

# %% [markdown]
# ### Exercise: LSUV
#
# `weights` are the matrices of a network with a ReLU between its layers and no biases. Return them in order, each
# scaled so that its outputs on `signal` have a standard deviation of 1, before the ReLU.

# %%
def scale_layers(weights, signal):
    """weights: list of (outputs, inputs); signal: (rows, inputs) -> list of scaled weights"""
    ...


check("lsuv", scale_layers)

# %% jupyter={"source_hidden": true} tags=["solution"]
def scale_layers_solution(weights, signal):
    scaled = []
    for weight in weights:
        scaled.append(weight / (signal @ weight.T).std())
        signal = (signal @ scaled[-1].T).relu()
    return scaled


check("lsuv", scale_layers_solution, solution=True)

# %%
images = split.train_images[:256]
network = deep.plain_network(generator(0), scheme="he", activation="relu")  # its biases are 0
print("standard deviation of the outputs of layers 1, 6, 11, 16, 21")
print("He:  ", *np.round(initialization.output_stds(network, images)[::5], 2))
scaled = written(scale_layers, scale_layers_solution)([layer.weight.detach() for layer in network.layers], images)
for layer, weight in zip(network.layers, scaled, strict=True):
    layer.weight.data = torch.as_tensor(weight).to(layer.weight)
print("LSUV:", *np.round(initialization.output_stds(network, images)[::5], 2))

# %% [markdown]
# ## 8. Width: does the best learning rate move?
#
# Large models are expensive, so people look for the best learning rate with a small one. Does it stay where it is when
# the model grows? Adam moves each weight by about the learning rate, however many there are. A wide layer sums over
# more weights, and their changes point the same way. So one step moves the outputs of a wide model further.
#
# **Maximal-update parametrization** (muP, Yang and Hu 2021) undoes this. With n the width and n₀ a base width at which
# nothing changes, the learning rate of hidden and output matrices is multiplied by n₀/n, and the output layer starts
# smaller, by sqrt(n₀/n). A **coordinate check** takes one step and looks at how far the outputs move.

# %%
predict(
    "width-lr",
    "In the standard parametrization, what happens to the best learning rate of Adam as a model gets 16 times as wide?",
    options=["it gets larger", "it stays", "it gets smaller"],
)

# %%
boards.coordinate_panel()

# %% [markdown]
# Both axes are logarithmic, so a power of the width is a straight line. Does a GPT do the same as an MLP? Does the
# slope depend on the learning rate?

# %%
runs = [("MLP", seed) for seed in range(5)] + [("GPT", seed) for seed in range(2)]
checks = [boards.coordinate_checks(model, seed=seed) for model, seed in runs]
standard, mup = ([check[name].slope for check in checks] for name in ("standard", "maximal update"))
claim("standard: the change grows with the width to the power of 0.4 or more (an MLP over 5 seeds, a GPT over 2)",
      min(standard) >= 0.4, lowest=min(standard))
claim("maximal update: to the power of 0.1 or less (an MLP over 5 seeds, a GPT over 2)",
      max(mup) <= 0.1, highest=max(mup))

# %% [markdown]
# Does it matter for training? Below are stored runs: an MLP with three hidden layers, three widths, eleven learning
# rates. The losses are averages over the last 10 of 40 steps.

# %%
def width_losses(parametrization, width):
    """Losses of steps 31 to 40: (learning rates, seeds)"""
    return np.array(studies.stored("widths", parametrization=parametrization, width=width)[0]["losses"])


boards.widths_panel(width_losses)

# %% [markdown]
# The lowest point of each curve is its best learning rate. Switch to *mup*, and watch where the lowest points are.

# %%
rates = np.array(widths.LRS)


def best_rate(parametrization, width):
    """The learning rate with the lowest mean loss over the stored seeds."""
    return rates[width_losses(parametrization, width).mean(1).argmin()]


moved = {name: best_rate(name, 512) / best_rate(name, 32) for name in widths.SCHEMES}
claim("standard: from width 32 to 512 the best learning rate falls by a factor of 4 or more (5 stored seeds)",
      moved["standard"] <= 1 / 4, stored=True)
claim("muP: it moves by one step of the grid, a factor of 2, at most (5 stored seeds)", 0.5 <= moved["mup"] <= 2,
      stored=True)

# %%
lowest = {name: width_losses(name, 512).min(0) for name in widths.SCHEMES}
claim("a catch: each at its best rate, width 512 ends below 0.14 with the standard parametrization, and above 0.16 "
      "with muP (5 stored seeds)", max(lowest["standard"]) < 0.14 and min(lowest["mup"]) > 0.16, stored=True)

# %% [markdown]
# So muP keeps its promise, and this is all that it promises: a rate found with a small model fits the large one. (Yang
# et al. 2022 tuned a GPT-3 of 6.7 billion parameters through a proxy of 40 million, for 7 % of the cost of training
# it.) That the standard parametrization ends lower here, in 40 steps and with its rate tuned at this very width, does
# not contradict it. At 6.7 billion parameters, each try of that tuning is a whole training.

# %%
recall(
    "width-lr",
    answer="it gets smaller",
    because="from width 32 to 512 it falls to an eighth or less. With muP it stays within one step of the grid.",
)

# %% [markdown]
# ## 9. The best start is a trained model, mostly
#
# Parameters move in small steps, so it helps to start near where they need to be. Nothing is nearer than a model that
# has been trained already. [01 Pretraining](01_pretraining.ipynb), section 7, shows what such a start saves on another
# task. Here are two questions more. What if the model you need is smaller than the trained one? And does a trained
# start ever hurt?
#
# ### A slice of a wider model
#
# A story GPT of width 32 can start as a **slice** of the course's GPT of width 64: every second row and column of every
# matrix, and every second head (weight selection, Xu et al. 2024).

# %%
predict(
    "slice",
    "Every second row and column of a trained model: what is the loss of the slice, before it is trained?",
    options=["a little above the wide model's 0.49", "about the bigram level, 1.7", "about ln V, 4.75, or more"],
)

# %%
boards.small_panel()

# %% [markdown]
# 1. *random*: press Start, and pin it when it has finished.
# 2. *sliced*: where does it begin, and how fast does it fall?

# %%
cut = slicing.slice_gpt(checkpoint.load("story_gpt"), 32)
claim("before training, the slice's loss is above 4 nats", held_out_loss(cut) > 4)


def small(start, steps=100):
    return studies.column("sliced", "loss", start=start, steps=steps)


claim("after 100 steps it is more than 0.5 nats below a random start",
      above(np.array(small("random")) - 0.5, small("sliced")), found=interval(small("random"), small("sliced")),
      unit="nats")
pair = small("random", 400), small("sliced", 400)
claim("after 400 steps it is still ahead", above(*pair), found=interval(*pair), unit="nats")
again = studies.run_point("sliced", start="sliced", steps=100, seed=0)["loss"]
claim("one of these runs, run now, ends within 0.1 nats of what is stored", abs(again - small("sliced")[0]) < 0.1)

# %%
recall(
    "slice",
    answer="about ln V, 4.75, or more",
    because="half of every sum is missing, in every layer, and the rest no longer fits together.",
)

# %% [markdown]
# So the slice guesses no better than random weights, and yet it learns far faster. Its first loss did not tell. Two
# things could help: what was learned may still be in there, out of tune. Or each matrix only has about the *size* that
# training gives it, which would make the slice no more than one more scale. To part the two, put the numbers of each
# matrix in random order. Their sizes stay, and all that they had learned is gone. It is the start *shuffled* in the
# panel above: run it, and guess first where it ends.

# %%
saved = {}
for steps in (100, 400):
    random, shuffled, sliced = (np.array(small(start, steps)) for start in ("random", "shuffled", "sliced"))
    saved[steps] = random - shuffled, shuffled - sliced  # by the sizes alone, and by what was learned
    claim(f"after {steps} steps the shuffled slice lies between a random start and the slice",
          above(random, shuffled) and above(shuffled, sliced),
          found=[interval(random, shuffled), interval(shuffled, sliced)], unit="nats")
sizes, learned = saved[100]
claim("after 100 steps, what was learned has saved more than the sizes alone", above(learned, sizes),
      found=interval(learned, sizes), unit="nats")

# %% [markdown]
# So both are true. Of what the slice has saved after 100 steps, 0.74 nats, the sizes alone save 0.21. After 400 steps,
# when all three are closer, they save about a half. The panel's last choice is the whole trained model, which has
# nothing left to learn here.

# %% [markdown]
# ### A warm start that hurts
#
# You have 200 noisy digits and train on them until every one is right. Then 200 more arrive. Going on from the trained
# weights, a **warm start**, is cheaper than starting again. Is it as good? (*Unseen* are 540 other noisy images.)

# %%
predict(
    "warm",
    "Both train on all 400 images until they get nearly every one right. Who gets more unseen images right?",
    options=["the warm start", "the fresh start", "no difference"],
)

# %%
boards.warm_panel()

# %% [markdown]
# The gap is one or two images in a hundred, as large as the difference between two seeds. One run will not show it;
# three side by side may. The third start, *shrunk*, keeps 0.4 times the trained weights and adds 0.4 times fresh ones
# (shrink and perturb, Ash and Adams 2020).

# %%
def unseen(shape):
    """The shares of unseen images right, by seed, for each start; shape: of the network, "wide" or "deep"."""
    (row,) = studies.stored("warm", shape=shape)
    return {start: np.array(row[f"{start}, unseen"]) for start in ("fresh", "warm", "shrunk")}


claim("fresh and warm get at least 99 % of the 400 images right that they learn from (2 networks, 10 stored seeds)",
      min(min(row[f"{start}, all"]) for row in studies.stored("warm") for start in ("fresh", "warm")) >= 0.99,
      stored=True)
for shape in ("wide", "deep"):
    shares = unseen(shape)
    claim(f"{shape}: the warm start gets fewer unseen images right than the fresh one",
          above(shares["fresh"], shares["warm"]), found=interval(shares["fresh"], shares["warm"]), unit="points")
    print(f"{shape}: shrink and perturb minus the warm start: {interval(shares['shrunk'], shares['warm'])}")

# %%
recall(
    "warm",
    answer="the fresh start",
    because="by 1.6 points on average, and by 1.4 in a deeper network. We have not tested why. Perhaps in its first "
    "1,000 steps the warm network has learned 200 images by heart, noise and all, and 400 no longer undo that.",
)

# %% [markdown]
# Ash and Adams (2020) found the same on photographs: 56.2 % and, with a warm start, 51.7 % (a ResNet with SGD), 39.4 %
# and 36.1 % (an MLP with Adam). Ten seeds cannot tell their remedy from the warm start here: in the
# panel's network it is 0.7 points above it (−0.1 to 1.6), in the deeper one 0.2 below (1.9 below to 1.4 above).
#
# So a trained start helps where the new task needs what was learned, and data for it are few. It can hurt where it has
# learned *this* task from too little.

# %% [markdown]
# ## 10. So which?
#
# A board to end the search: six starts in four networks, with two optimizers. All networks have 20 hidden layers of 32
# ReLU units and read digits. *Norm* puts a LayerNorm before each activation, *residual* adds each layer's input to its
# output. In the panel all 24 networks of an optimizer train at once, as in section 4, with one learning rate.

# %%
predict(
    "forgives",
    "Each network gets its best learning rate. Which change brings all six starts above half of the digits?",
    options=["AdamW in place of SGD", "normalization", "residual connections", "none of these alone"],
)

# %%
boards.board_panel()

# %% [markdown]
# 1. Learning rates 0.01 and 0.1, with SGD: which rows and columns change?
# 2. AdamW. (It takes a tenth of the learning rate.)
# 3. A field that diverged and one that learned nothing look alike. Raise or lower the rate to tell them apart.
#
# One learning rate for all is not fair. Below are stored runs of 150 steps in which each network has its own best
# learning rate, out of many, half a power of ten apart: from 10⁻⁶ to 0.3 for SGD, and from 3 · 10⁻⁵ to 0.1 for AdamW.
# The best is the one with most *training* digits right; shown are unseen digits. A network that diverges counts as
# 0 %. Below the picture, *28% 1e-03* means 28 % right, at a best rate of 0.001. (*Orthogonal* is without √2 here, so a
# ReLU halves it.)

# %%
def board_of(what, optimizer):
    """One stored number of each field of the board, averaged over seeds: (starts, networks)"""
    fields = [studies.stored("board", optimizer=optimizer, network=network)[0] for network in board.NETWORKS]
    return np.array([[np.mean(field[f"{scheme}{what}"]) for field in fields] for scheme in board.SCHEMES])


tuned = partial(board_of, "")
log_rates = partial(board_of, ", log10 lr")
boards.stored_board_panel(tuned, lambda optimizer: 10 ** log_rates(optimizer))

# %%
ends = {"sgd": (-6, -0.5), "adamw": (-4.5, -1)}
claim("no network that gets over 20 % right has its best learning rate at an end of the range",
      all(not np.isin(log_rates(name)[tuned(name) > 0.2], ends[name]).any() for name in ends), stored=True)
sgd, adamw = (dict(zip(board.NETWORKS, tuned(optimizer).T, strict=True)) for optimizer in ("sgd", "adamw"))
plain = dict(zip(board.SCHEMES, sgd["plain"], strict=True))
claim("plain, SGD: normal, uniform, xavier and orthogonal stay under 20 %, whatever the rate (5 stored seeds)",
      max(plain[scheme] for scheme in ("normal", "uniform", "xavier", "orthogonal")) < 0.2, stored=True)
single = {"AdamW": adamw["plain"], "norm": sgd["norm"], "residual": sgd["residual"]}
claim("AdamW, normalization, residual connections: each alone leaves a start under 40 % (5 stored seeds)",
      all(shares.min() < 0.4 for shares in single.values()), stored=True)
both = np.concatenate([sgd["norm + residual"], adamw["norm + residual"]])
claim("normalization and residual connections: all starts are above 80 % on average, with both optimizers "
      "(5 stored seeds)", both.min() > 0.8, stored=True, lowest=both.min())

# %%
def worst(scheme):
    """The mean share, over seeds, of the field in which this start does worst."""
    return min(np.mean(row[scheme]) for row in studies.stored("board"))


print("worst field (5 stored seeds):", *(f"{scheme} {worst(scheme):.0%}" for scheme in board.SCHEMES), sep="  ")
place = list(board.NETWORKS).index("residual")
rates = dict(zip(board.SCHEMES, log_rates("sgd")[:, place], strict=True))
claim("residual, SGD: the best rates of normal and of he are more than a thousandfold apart",
      rates["normal"] - rates["he"] > 3, stored=True)
by_start = dict(zip(board.SCHEMES, sgd["residual"], strict=True))
claim("and even so xavier, he and orthogonal stay under 40 %, normal with std 0.02 is above 50 % (5 stored seeds)",
      max(by_start[name] for name in ("xavier", "he", "orthogonal")) < 0.4 and by_start["normal"] > 0.5, stored=True)

# %%
recall(
    "forgives",
    answer="none of these alone",
    because="each rescues some starts and leaves others. Which of them looks best depends on where you draw the line. "
    "Normalization and residual connections together bring all six above 80 %.",
)

# %% [markdown]
# What forgives what:
#
# - **Normalization** forgives a wrong size of the signal, though not every one: with SGD, std 0.02 gets 28 % right.
# - **Residual connections** let the signal pass and add to it in every layer, so that even starts that are too small
#   for plain layers become far too large: section 6. Such a network then asks for a tiny learning rate, and learns
#   little with it.
# - **AdamW** divides by the size of the gradient, and so forgives gradients that are too small. Where the signal itself
#   is gone, as with std 0.02 in a plain network, there is nothing left to learn from.
# - Together they forgive almost everything. This is a reason why people argue less about initialization today, and why
#   large models still treat what nothing normalizes with care: the embeddings, the ends of branches, the width.
#
# And so:
#
# | you have | start from | shown here, or said by others |
# |---|---|---|
# | a trained model for the same or a related task | that model, or a slice of it | section 9; 01, section 7 |
# | a network with normalization and residuals | nearly anything; 1/sqrt(width), small embeddings | sections 5 and 10 |
# | the same, and very deep | branches over sqrt(2L), or zeroed | section 6 without normalization; GPT-2, Fixup |
# | a plain ReLU network | He, or LSUV | sections 4, 7 and 10 |
# | anything else without normalization | LSUV | sections 7 and 10 |
# | a model that will grow | muP, tuned at the small width | section 8 |

# %% [markdown]
# ## What you can do now
#
# - Say how much memory training takes: 16 bytes a weight with Adam, and activations that grow with the batch.
# - Explain why weights must not all start alike: units that start alike stay alike.
# - Compute what a layer does to a signal: it multiplies its mean square by n · Var(w), and ReLU halves that.
# - Say how deep a network may be for a given start.
# - Read the loss at step 0, and say what it does not tell.
# - Keep a residual stream from growing with depth.
# - Fit a start to data, layer by layer.
# - Say why the best learning rate moves with the width, and how to stop it.
# - Start from a trained model, and say when that hurts.
# - Choose a start, and say what normalization, residuals and the optimizer forgive.

# %% jupyter={"source_hidden": true}
quiz("initialization", [
    Question("Training with Adam in float32 takes 16 bytes for each weight, and besides", {
        "nothing": "The backward pass also needs what each layer gave in the forward pass.",
        "activations, which grow with the batch": "Yes: each example has its own.",
        "activations, which are the same for every batch": "Each example of the batch has its own activations.",
    }, answer="activations, which grow with the batch"),
    Question("All weights of a network start at 0.1. After training, the hidden units of a layer", {
        "have become different, because their gradients differ": "Units that are alike get the same gradient.",
        "are still alike": "Yes: the layer works like a single unit, however wide it is.",
        "are all 0": "They move, but all in the same way.",
    }, answer="are still alike"),
    Question("A ReLU network has 30 layers with weights N(0, 1/n). The mean square of its signal at the end is about", {
        "the same as at the beginning": "That would be N(0, 2/n): ReLU lets half of the mean square through.",
        "a billionth of it": "Yes: a half for each layer, and 2⁻³⁰ is 9.3e-10.",
        "a thirtieth of it": "The factors multiply from layer to layer: 2⁻³⁰.",
    }, answer="a billionth of it"),
    Question("A model with 1,000 classes starts with a loss of 40 nats. This says that", {
        "its outputs are far too large at the start": "Yes: ln 1,000 = 6.9, and the rest is confidence without reason.",
        "it will not train": "Often it trains all the same, after steps that bring the outputs down.",
        "its data are hard": "Before training, the data play hardly any part in the loss.",
    }, answer="its outputs are far too large at the start"),
    Question("In the standard parametrization, a model that is four times as wide usually wants", {
        "a higher learning rate": "A step moves the outputs of a wide model further: it wants a lower one.",
        "the same learning rate": "That is what maximal-update parametrization is for.",
        "a lower learning rate": "Yes: every unit sums over more inputs, and all of them move at once.",
    }, answer="a lower learning rate"),
])

# %% [markdown]
# **Further reading.** Glorot and Bengio 2010, *Understanding the difficulty of training deep feedforward neural
# networks*. He et al. 2015, *Delving Deep into Rectifiers*. Saxe et al. 2013, *Exact solutions to the nonlinear
# dynamics of learning in deep linear neural networks*. Schoenholz et al. 2017, *Deep Information Propagation*. Mishkin
# and Matas 2016, *All you need is a good init*. Zhang, Dauphin and Ma 2019, *Fixup Initialization*. Yang et al. 2022,
# *Tensor Programs V* (tuning large models by small ones). Ash and Adams 2020, *On Warm-Starting Neural Network
# Training*.
#
# **Next:** the course map in [00 Start here](00_start_here.ipynb) shows what you have done, and what is left.
