"""A sweep's networks are those that `training.fit` trains one by one."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from chapters.initialization.mup import mup_groups, mup_learning_rates
from course_utils import data, initialization, runtime, sweeps, training
from course_utils.models import ACTIVATIONS, GPT, IGNORE, MLP, GPTConfig

SPLIT = data.digits_split()
CLOSE = 1e-10  # in float64, where a different order of sums leaves no trace
FLOAT32 = 2e-5  # the same, in float32


def digit_batches(generator):
    rows = torch.randint(len(SPLIT.train_images), (32,), generator=generator)
    return SPLIT.train_images[rows], SPLIT.train_labels[rows]


def exact_batches(generator):
    images, labels = digit_batches(generator)
    return images.double(), labels


def mlp(gain=1.0, sizes=(64, 32, 32, 10), dtype=torch.float32, **options):
    def build(generator):
        return initialization.initialize_(MLP(sizes, **options), "he", generator=generator, gain=gain).to(dtype)

    return build


def alone(build, batches, *, steps, lr, seed, decay=0.0, **options):
    """One network through the one loop."""
    experiment = training.Experiment(
        model=build, batches=batches, steps=steps, knobs={"lr": lr, "weight_decay": decay}, **options
    )
    return training.finish(experiment.start(seed, device="cpu"))


def differences(sweep, k, run):
    """The largest differences in loss and in weights between network k and a run of its own."""
    steps = run.step_count
    loss = (sweep.losses[:steps, k] - torch.from_numpy(run.history.loss)).abs().max().item()
    named = dict(run.model.named_parameters())
    assert sweep.parameters.keys() == named.keys()
    return loss, max((sweep.parameters[name][k] - named[name]).abs().max().item() for name in named)


@pytest.mark.parametrize(("optimizer", "rates"), [("sgd", [0.01, 0.1, 0.5, 0.1]), ("adamw", [1e-3, 3e-3, 1e-2, 1e-3])])
def test_each_network_is_the_one_that_fit_trains(optimizer, rates):
    gains, seeds, decays = [0.5, 1.0, 1.5, 1.0], [0, 1, 1, 3], [0.0, 0.1, 0.1, 0.3]
    options = {"optimizer": optimizer, "schedule": training.cosine(40, warmup=5)}
    builds = [mlp(gain, dtype=torch.float64, norm=True) for gain in gains]
    sweep = sweeps.train_many(
        builds, exact_batches, steps=40, lr=rates, seed=seeds, weight_decay=decays, device="cpu", **options
    )
    assert sweep.losses.shape == (40, 4)
    assert sweep.diverged_at == (None,) * 4
    for k in range(4):
        run = alone(builds[k], exact_batches, steps=40, lr=rates[k], seed=seeds[k], decay=decays[k], **options)
        assert max(differences(sweep, k, run)) < CLOSE


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_in_float32_the_first_20_losses_are_those_of_fit(activation, norm, residual, optimizer):
    rates = [0.05, 0.2, 0.1] if optimizer == "sgd" else [1e-3, 1e-2, 3e-3]
    builds = [mlp(gain, (64, 24, 24, 10), activation=activation, norm=norm, residual=residual)
              for gain in (0.5, 1.0, 1.5)]  # fmt: skip
    options = {"steps": 20, "optimizer": optimizer}
    sweep = sweeps.train_many(builds, digit_batches, lr=rates, seed=[0, 1, 0], device="cpu", **options)
    for k, (lr, seed) in enumerate(zip(rates, [0, 1, 0], strict=True)):
        assert differences(sweep, k, alone(builds[k], digit_batches, lr=lr, seed=seed, **options))[0] < 1e-4


@pytest.mark.parametrize("width", [16, 32, 64])
def test_24_networks_of_ten_layers_from_starts_that_fade_and_that_explode(width):
    pairs = [(gain, seed) for gain in (0.25, 0.5, 0.75, 1.0, 1.1, 1.2, 1.3, 1.5) for seed in range(3)]
    builds, seeds = [mlp(gain, (64, *[width] * 9, 10)) for gain, _ in pairs], [seed for _, seed in pairs]
    sweep = sweeps.train_many(builds, digit_batches, steps=20, lr=1e-3, seed=seeds, device="cpu")
    for k, (build, seed) in enumerate(zip(builds, seeds, strict=True)):
        assert differences(sweep, k, alone(build, digit_batches, steps=20, lr=1e-3, seed=seed))[0] < 1e-4


@pytest.mark.parametrize("options", [{"bias": False}, {"sizes": (64, 7, 13, 10)}, {"sizes": (64, 1, 10)},
                                     {"sizes": (64, 10)}, {"sizes": (64, 20, 20, 14), "residual": True}])  # fmt: skip
def test_narrow_wide_shallow_and_without_biases(options):
    build = mlp(**{"dtype": torch.float64} | options)
    sweep = sweeps.train_many(build, exact_batches, steps=15, lr=[1e-2, 1e-3], weight_decay=0.1, seed=[2, 3])
    for k, (lr, seed) in enumerate([(1e-2, 2), (1e-3, 3)]):
        run = alone(build, exact_batches, steps=15, lr=lr, decay=0.1, seed=seed)
        assert max(differences(sweep, k, run)) < CLOSE


class Doubled(nn.Module):
    """A network that is no MLP."""

    def __init__(self, network):
        super().__init__()
        self.network, self.scale = network, nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.scale * self.network(x)


def hooked(generator):
    network = mlp()(generator)
    network.layers[0].register_forward_hook(lambda module, inputs, out: 2 * out)
    return network


def exchanged(generator):
    network = mlp()(generator)
    network.act = nn.LeakyReLU()
    return network


@pytest.mark.parametrize("build", [lambda generator: Doubled(mlp()(generator)), hooked, exchanged])
def test_a_network_that_is_no_plain_mlp_is_trained_as_it_is(build):
    rates, factors = [1e-3, 1e-2], {name: 0.5 for name, weight in build(runtime.generator(0)).named_parameters()
                                    if weight.ndim < 2}  # fmt: skip
    test = (SPLIT.test_images, SPLIT.test_labels)
    sweep = sweeps.train_many(build, digit_batches, steps=10, lr=rates, seed=5, test=test, device="cpu")
    for k, lr in enumerate(rates):
        run = alone(build, digit_batches, steps=10, lr=lr, seed=5)
        assert max(differences(sweep, k, run)) < FLOAT32
        right = (run.model(test[0]).argmax(-1) == test[1]).float().mean().item()
        assert sweep.accuracy[k].item() == pytest.approx(right, abs=0.01)
    once = {"steps": 1, "lr": 1e-3, "optimizer": "sgd", "device": "cpu"}
    full = sweeps.train_many(build, digit_batches, **once)
    slower = sweeps.train_many(build, digit_batches, lr_factors=factors, **once)
    start = dict(build(runtime.generator(0)).named_parameters())
    for name, weight in full.parameters.items():
        moved, less = weight[0] - start[name], slower.parameters[name][0] - start[name]
        torch.testing.assert_close(less, factors.get(name, 1.0) * moved, atol=1e-7, rtol=0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tied", [True, False])
def test_a_gpt_with_the_default_start_too(tied):
    def build(_):
        return GPT(GPTConfig(vocab_size=20, context=8, width=16, heads=2, layers=2, tied=tied)).double()

    def batches(generator):
        tokens = torch.randint(20, (4, 9), generator=generator)
        return tokens[:, :-1], tokens[:, 1:]

    sweep = sweeps.train_many(build, batches, steps=15, lr=[1e-3, 1e-2], seed=[4, 5], device="cpu")
    for k, (lr, seed) in enumerate([(1e-3, 4), (1e-2, 5)]):
        assert max(differences(sweep, k, alone(build, batches, steps=15, lr=lr, seed=seed))) < CLOSE


def test_a_list_of_batches_is_the_same_for_all_and_starts_again():
    batches = [digit_batches(runtime.generator(number)) for number in range(3)]
    sweep = sweeps.train_many(mlp(), batches, steps=7, lr=1e-2, seed=range(2), device="cpu")
    for seed in range(2):
        assert max(differences(sweep, seed, alone(mlp(), batches, steps=7, lr=1e-2, seed=seed))) < FLOAT32


def test_rates_and_seeds_may_be_arrays():
    rates, options = [1e-3, 1e-2], {"steps": 3, "device": "cpu"}
    plain = sweeps.train_many(mlp(), digit_batches, lr=rates, seed=[3, 4], **options)
    tensors = torch.tensor(rates, dtype=torch.float64), torch.tensor([3, 4])
    for lr, seed in (tensors, (np.array(rates), np.arange(3, 5))):
        assert torch.equal(sweeps.train_many(mlp(), digit_batches, lr=lr, seed=seed, **options).losses, plain.losses)
    one = sweeps.train_many(mlp(), digit_batches, lr=torch.tensor(1e-2), seed=4, **options)
    torch.testing.assert_close(one.losses[:, 0], plain.losses[:, 1], atol=FLOAT32, rtol=0)


def test_a_sweep_trains_where_gradients_are_switched_off():
    with torch.no_grad():
        sweep = sweeps.train_many(mlp(), digit_batches, steps=3, lr=1e-2, device="cpu")
    assert sweep.losses[2] < sweep.losses[0]


def test_networks_with_the_same_seed_share_their_batches():
    drawn = []

    def batches(generator):
        drawn.append(generator.initial_seed())
        return digit_batches(generator)

    sweep = sweeps.train_many(mlp(), batches, steps=5, lr=1e-2, seed=[7, 8, 7], device="cpu")
    assert len(drawn) == 5 * 2
    assert torch.equal(sweep.losses[:, 0], sweep.losses[:, 2])
    assert not torch.equal(sweep.losses[:, 0], sweep.losses[:, 1])


def test_a_loss_of_ones_own():
    def loss(model, batch, *, smoothing=0.1):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=smoothing)

    sweep = sweeps.train_many(mlp(), digit_batches, steps=10, lr=1e-2, loss=loss, seed=3, device="cpu")
    assert max(differences(sweep, 0, alone(mlp(), digit_batches, steps=10, lr=1e-2, seed=3, loss=loss))) < FLOAT32


def test_learning_rates_by_parameter_as_mup_needs_them():
    def build(generator):
        return initialization.initialize_(MLP([64, 48, 48, 10]), "mup", generator=generator, base_width=16)

    batches = [digit_batches(runtime.generator(0))]
    factors = mup_learning_rates(build(runtime.generator(0)), base_width=16)
    sweep = sweeps.train_many(build, batches, steps=5, lr=[1e-3, 1e-2], lr_factors=factors, device="cpu")
    for k, lr in enumerate([1e-3, 1e-2]):
        model = build(runtime.generator(0))
        groups = mup_groups(model, lr=lr, base_width=16)
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
        for _ in range(5):
            optimizer.zero_grad()
            training.default_loss(model, batches[0]).backward()
            optimizer.step()
        for name, weight in model.named_parameters():
            assert torch.allclose(sweep.parameters[name][k], weight, atol=FLOAT32)


def test_a_loss_that_asks_about_other_inputs_is_refused_not_answered_wrongly():
    def shifted(model, batch):
        return nn.functional.cross_entropy(model(batch[0] + 1), batch[1])

    with pytest.raises(ValueError, match="may ask for model.batch.0.. only: train with `training.fit`"):
        sweeps.train_many(mlp(), digit_batches, steps=2, lr=1e-2, loss=shifted)


def test_targets_that_do_not_count_are_left_out_of_the_mean():
    def batches(generator):
        images, labels = exact_batches(generator)
        return images, labels.where(torch.rand(len(labels), generator=generator) < 0.7, IGNORE)

    build = mlp(dtype=torch.float64)
    sweep = sweeps.train_many(build, batches, steps=10, lr=1e-2, seed=[0, 1], device="cpu")
    for seed in range(2):
        assert max(differences(sweep, seed, alone(build, batches, steps=10, lr=1e-2, seed=seed))) < CLOSE


def test_soft_targets_and_batches_that_a_sweep_cannot_read():
    def soft(generator):
        images, labels = exact_batches(generator)
        return images, nn.functional.one_hot(labels, 10).double() * 0.9 + 0.01

    build = mlp(dtype=torch.float64)
    sweep = sweeps.train_many(build, soft, steps=5, lr=1e-2, seed=[0, 1], device="cpu")
    assert max(differences(sweep, 1, alone(build, soft, steps=5, lr=1e-2, seed=1))) < CLOSE
    for bad in (torch.ones(8, 64), (torch.ones(8, 1, 64), torch.zeros(8, dtype=torch.long))):
        with pytest.raises(ValueError, match="expected ..batch, inputs., targets"):
            sweeps.train_many(mlp(), lambda _, bad=bad: bad, steps=1, lr=1e-2, seed=[0, 1])


# --- live -------------------------------------------------------------------------------------------------------------


def default_start(*sizes, **options):
    return lambda _: MLP(sizes, **options).double()


FLEET = [default_start(64, 16, 10), mlp(dtype=torch.float64), default_start(64, 16, 10, norm=True),
         lambda generator: Doubled(mlp(dtype=torch.float64)(generator)), default_start(64, 16, 10)]  # fmt: skip
KNOBS = {"lr": 0.05, "weight_decay": 0.01, "momentum": 0.9}


def fleet_of(builds, **rules):
    return training.Experiment(model=sweeps.fleet(builds), batches=exact_batches, loss=sweeps.fleet_loss,
                               optimizer="sgd", **rules)  # fmt: skip


def test_every_network_of_a_fleet_follows_the_knobs_as_it_would_alone():
    together = fleet_of(FLEET, knobs=KNOBS, steps=30).start(7, device="cpu")
    runs = [training.Experiment(model=build, batches=exact_batches, optimizer="sgd", knobs=KNOBS, steps=30)
            .start(7, device="cpu") for build in FLEET]  # fmt: skip
    for step in range(30):
        for run in (together, *runs):
            if step == 10:
                run.set("lr", 0.2)
                run.set("weight_decay", 0.1)
            run.step()
    images = SPLIT.test_images.double()
    for answers, run in zip(together.model(images), runs, strict=True):
        torch.testing.assert_close(answers, run.model(images), atol=CLOSE, rtol=0)
    mean = np.mean([run.history.loss for run in runs], axis=0)
    assert together.history.loss == pytest.approx(mean, abs=CLOSE)


def test_a_fleet_is_replayed_to_the_same_weights():
    recipe = fleet_of(FLEET, knobs=KNOBS, steps=8)
    run = recipe.start(1, device="cpu")
    run.step()
    run.set("momentum", 0.5)
    training.finish(run)
    again = training.replay(recipe, run.recording(), device="cpu").snapshot()
    assert all(torch.equal(weight, again[name]) for name, weight in run.snapshot().items())


def test_a_fleet_ends_when_all_have_diverged():
    run = training.finish(fleet_of([mlp(dtype=torch.float64)] * 2, knobs={"lr": 1e4}, steps=50).start(0, device="cpu"))
    assert run.status == "diverged"
    assert run.step_count == max(run.model.diverged_at)


# --- divergence --------------------------------------------------------------------------------------------------


def test_one_that_diverges_stops_where_fit_stops_and_leaves_the_others_untouched():
    settings = {"steps": 12, "seed": [0, 1, 2], "optimizer": "sgd", "device": "cpu",
                "test": (SPLIT.test_images, SPLIT.test_labels)}  # fmt: skip
    tame = sweeps.train_many(mlp(), digit_batches, lr=[0.1, 0.1, 0.1], **settings)
    wild = sweeps.train_many(mlp(), digit_batches, lr=[0.1, 1e4, 0.1], **settings)
    run = alone(mlp(), digit_batches, steps=12, lr=1e4, seed=1, optimizer="sgd")
    assert run.status == "diverged"
    assert wild.diverged_at == (None, run.step_count, None)
    assert wild.losses[run.step_count:, 1].isnan().all()
    assert wild.accuracy.isnan().tolist() == [False, True, False]
    for name, weight in run.model.named_parameters():
        torch.testing.assert_close(wild.parameters[name][1], weight.detach())
    for k in (0, 2):
        assert torch.equal(wild.losses[:, k], tame.losses[:, k])
        assert wild.accuracy[k] == tame.accuracy[k]
        assert all(torch.equal(wild.parameters[name][k], tame.parameters[name][k]) for name in tame.parameters)


def test_its_weights_stay_those_of_its_last_step():
    def weights_after(steps):
        sweep = sweeps.train_many(mlp(), digit_batches, steps=steps, lr=[1e4, 0.1], optimizer="sgd", device="cpu")
        return sweep, sweep.parameters["layers.0.weight"][0]

    stopped_at = weights_after(12)[0].diverged_at[0]
    assert torch.equal(weights_after(12)[1], weights_after(stopped_at)[1])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_from_the_start_is_a_divergence_at_step_1(bad):
    def loss(model, batch):
        return training.default_loss(model, batch) + bad

    sweep = sweeps.train_many(mlp(), digit_batches, steps=4, lr=1e-2, seed=[0, 1], loss=loss, device="cpu")
    assert sweep.diverged_at == (1, 1)
    assert sweep.losses[1:].isnan().all()


# --- what comes back ---------------------------------------------------------------------------------------------


def test_accuracy_is_the_share_that_the_final_weights_guess_right():
    test = (SPLIT.test_images, SPLIT.test_labels)
    sweep = sweeps.train_many(mlp(), digit_batches, steps=150, lr=[1e-4, 1e-2], test=test, device="cpu")
    for k in range(2):
        model = MLP([64, 32, 32, 10])
        model.load_state_dict({name: stacked[k] for name, stacked in sweep.parameters.items()})
        right = (model(test[0]).argmax(-1) == test[1]).float().mean()
        assert sweep.accuracy[k].item() == pytest.approx(right.item())
    assert sweep.accuracy[0] < 0.8 < sweep.accuracy[1]


def test_a_target_that_does_not_count_is_neither_right_nor_wrong():
    def batches(generator):
        return torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long)

    def build(generator):
        config = GPTConfig(vocab_size=3, context=4, width=4, heads=1, layers=0)
        return initialization.initialize_(GPT(config), "zeros")  # always guesses token 0

    test = (torch.zeros(1, 4, dtype=torch.long), torch.tensor([[0, 0, 1, -100]]))
    sweep = sweeps.train_many(build, batches, steps=1, lr=0.0, test=test, device="cpu")
    assert sweep.accuracy.tolist() == pytest.approx([2 / 3])


def test_nothing_comes_from_or_goes_to_torchs_global_generator():
    state = torch.random.get_rng_state()
    first = sweeps.train_many(mlp(), digit_batches, steps=3, lr=1e-2, seed=[0, 1], device="cpu")
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(99)
    again = sweeps.train_many(mlp(), digit_batches, steps=3, lr=1e-2, seed=[0, 1], device="cpu")
    assert torch.equal(first.losses, again.losses)


# --- bad input ---------------------------------------------------------------------------------------------------


def frozen(generator):
    model = mlp()(generator)
    model.layers[0].weight.requires_grad_(False)
    return model


def test_what_is_no_builder_or_no_loss_is_named():
    with pytest.raises(TypeError, match="model is a module: expected a function that builds one"):
        sweeps.train_many(MLP([64, 10]), digit_batches, steps=1, lr=0.1)
    with pytest.raises(TypeError, match="loss gave a tensor of shape .32,.: expected a tensor that is one number"):
        sweeps.train_many(mlp(), digit_batches, steps=1, lr=0.1, loss=lambda model, batch: model(batch[0])[:, 0])


@pytest.mark.parametrize(("changes", "message"), [
    ({"steps": 0}, "steps 0: expected 1 or more"),
    ({"lr": [0.1, 0.2], "seed": [1, 2, 3]}, "lr has 2 values and another setting 3: give one or 3"),
    ({"lr": -1.0}, "lr -1.0: expected a number, 0 or more"),
    ({"optimizer": "lion"}, "optimizer 'lion': choose one of adamw, sgd"),
    ({"model": [mlp(), mlp(sizes=(64, 16, 10))]}, "network 1 is built differently from network 0"),
    ({"model": [mlp(), mlp(activation="tanh")]}, "network 1 is built differently from network 0"),
    ({"model": [mlp(), mlp(residual=True)]}, "network 1 is built differently from network 0"),
    ({"model": lambda _: nn.BatchNorm1d(64)}, "BatchNorm1d has buffers"),
    ({"model": frozen}, "network 0 has frozen weights"),
    ({"batches": []}, "batches gave no batch"),
    ({"batches": iter([digit_batches(runtime.generator(0))])}, "an iterator that can be read once"),
    ({"steps": 1.5}, "steps 1.5: expected 1 or more, a whole number"),
    ({"lr_factors": {"nothing": 2.0}}, "lr_factors: no parameter nothing"),
])  # fmt: skip
def test_bad_input_says_what_to_do(changes, message):
    arguments = {"model": mlp(), "batches": digit_batches, "steps": 2, "lr": 0.1, "device": "cpu"} | changes
    with pytest.raises(ValueError, match=message):
        sweeps.train_many(arguments.pop("model"), arguments.pop("batches"), **arguments)
