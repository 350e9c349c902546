"""Laws of fine-tuning: what trains and what stays, LoRA against peft, penalties and Fisher in closed form."""

import copy
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F

from chapters.finetuning import ranks
from chapters.finetuning.panel_finetuning import training_bytes
from course_utils import finetuning as ft
from course_utils import training
from course_utils.models import GPT, IGNORE, MLP, GPTConfig, count_parameters
from course_utils.runtime import generator


@pytest.fixture(autouse=True)
def fixed_start():
    with torch.random.fork_rng(devices=[]):  # nn.Linear starts from the global generator
        torch.manual_seed(0)
        yield


def gpt(**changes):
    return GPT(GPTConfig(**{"vocab_size": 11, "context": 8, "width": 12, "heads": 2, "layers": 2, **changes}))


def tokens(rows=4, length=8, seed=0):
    return torch.randint(11, (rows, length), generator=generator(seed))


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def digit_like(rows=32, seed=0):
    return normal(rows, 6, seed=seed), torch.randint(4, (rows,), generator=generator(seed + 1))


def shake_(adapters):
    """Give each B other values than 0, so that the adapters do something."""
    for number, adapter in enumerate(adapters.values()):
        adapter.B.data = normal(*adapter.B.shape, seed=number).to(adapter.B)


# --- freezing ---------------------------------------------------------------------------------------------------------


def trained_names(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("choice", "beginnings"),
    [
        ({}, ()),
        ({"train_last": 1}, ("norm.", "head.")),
        ({"train_last": 2}, ("blocks.1.", "norm.", "head.")),
        ({"train_first": 1}, ("embed.", "position.")),
        ({"train_first": 2}, ("embed.", "position.", "blocks.0.")),
        ({"train_first": 1, "train_last": 1}, ("embed.", "position.", "norm.", "head.")),
        ({"train": "head*"}, ("head.",)),
        ({"train": ["head*", "position*"]}, ("position.", "head.")),
        ({"train": "*"}, ("",)),
        ({"train_last": 4}, ("",)),
    ],
)
def test_freeze_trains_the_chosen_stages_of_a_gpt_and_nothing_else(choice, beginnings):
    model = gpt(tied=False)
    returned = ft.freeze_(model, **choice)
    expected = {name for name, _ in model.named_parameters() if name.startswith(beginnings)} if beginnings else set()
    assert set(returned) == trained_names(model) == expected


def test_stages_of_an_mlp_are_its_layers_with_their_norms():
    model = MLP([6, 5, 5, 4], norm=True)
    assert ft.freeze_(model, train_last=1) == ["layers.2.weight", "layers.2.bias"]
    assert set(ft.freeze_(model, train_first=1)) == {
        "layers.0.weight", "layers.0.bias", "norms.0.weight", "norms.0.bias"}


def test_a_tied_matrix_belongs_to_the_embeddings():
    model = gpt()
    assert ft.freeze_(model, train_last=1) == ["norm.weight", "norm.bias"]
    assert ft.freeze_(model, train_first=1) == ["embed.weight", "position.weight"]


def test_biases_alone():
    model = gpt()
    names = ft.freeze_(model, train=ft.BIASES)
    assert names and all(name.endswith("bias") for name in names)
    assert count_parameters(model, trainable_only=True) == sum(p.numel() for p in model.parameters() if p.ndim == 1) - (
        5 * 12)  # five norms also have a weight vector each


@pytest.mark.parametrize("choice", [{"train_last": 1}, {"train": ft.BIASES}])
def test_training_moves_what_is_chosen_and_leaves_the_rest_bitwise(choice):
    model = MLP([6, 8, 8, 4])
    before = copy.deepcopy(model)
    chosen = ft.freeze_(model, **choice)
    training.fit(model, [digit_like()], steps=5, lr=1e-2, device="cpu", knobs={"weight_decay": 0.1})
    for (name, now), start in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(now, start) == (name not in chosen)


def test_freeze_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"train 'heads\*' matches no weight: this model has embed.weight"):
        ft.freeze_(gpt(), train="heads*")
    with pytest.raises(ValueError, match="train_last 5: this model has 4 stages"):
        ft.freeze_(gpt(), train_last=5)
    for count in (-1, 1.5):
        with pytest.raises(ValueError, match=f"train_first {count}: this model has 4 stages, choose 0 to 4"):
            ft.freeze_(gpt(), train_first=count)
    with pytest.raises(TypeError, match="stages of a Linear are not known: choose by name"):
        ft.freeze_(nn.Linear(2, 2), train_last=1)


def test_training_bytes_are_what_the_optimizer_holds():
    model = gpt()
    ft.freeze_(model, train_last=2)
    steps = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    model(tokens(), tokens())[1].backward()
    steps.step()
    held = [p.grad for p in model.parameters() if p.grad is not None]
    held += [s for state in steps.state.values() for s in state.values() if torch.is_tensor(s) and s.ndim]
    assert training_bytes(model) == sum(t.nbytes for t in held)


# --- LoRA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [gpt, lambda: MLP([6, 8, 8, 4])], ids=["gpt", "mlp"])
def test_lora_changes_nothing_at_the_start_and_sends_no_gradient_to_A(model):
    model = model()
    inputs = tokens() if isinstance(model, GPT) else normal(4, 6)
    before = model(inputs)
    adapters = ft.add_lora_(model, rank=2)
    after = model(inputs)
    before, after = (out[0] if isinstance(out, tuple) else out for out in (before, after))
    assert torch.equal(before, after)
    after.square().sum().backward()
    assert all(adapter.A.grad.abs().max() == 0 for adapter in adapters.values())
    assert all(adapter.B.grad.abs().max() > 0 for adapter in adapters.values())


def test_lora_trains_r_times_in_plus_out_numbers_a_layer_and_nothing_else():
    model = gpt()
    linear = [m for block in model.blocks for m in block.modules() if isinstance(m, nn.Linear)]
    adapters = ft.add_lora_(model, rank=3)
    assert len(adapters) == len(linear) == 8
    expected = sum(3 * (m.in_features + m.out_features) for m in linear)
    assert expected == count_parameters(model, trainable_only=True)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{name}.{part}" for name in adapters for part in "AB"}


def test_the_default_is_every_linear_layer_but_the_head():
    assert list(ft.add_lora_(MLP([6, 8, 8, 4]), rank=2)) == ["layers.0", "layers.1"]
    names = list(ft.add_lora_(gpt(tied=False), rank=2))
    assert len(names) == 8 and all(name.startswith("blocks.") for name in names)


def test_targets_name_layers_by_how_they_end():
    assert list(ft.add_lora_(gpt(), targets=["qkv"])) == ["blocks.0.attention.qkv", "blocks.1.attention.qkv"]
    assert list(ft.add_lora_(gpt(), targets=["blocks.1.up", "out"])) == [
        "blocks.0.attention.out", "blocks.1.attention.out", "blocks.1.up"]
    assert list(ft.add_lora_(gpt(tied=False), targets="head")) == ["head"]
    alike = nn.ModuleDict({"proj": nn.Linear(4, 4), "k_proj": nn.Linear(4, 4)})
    assert list(ft.add_lora_(alike, targets=["proj"])) == ["proj"]  # whole names between the dots


def test_A_is_uniform_within_one_over_root_of_the_inputs_and_comes_from_its_generator():
    wide = nn.Sequential(nn.Linear(400, 300), nn.Linear(300, 2))
    A = ft.add_lora_(copy.deepcopy(wide), rank=50, generator=generator(7))["0"].A.detach()
    bound = 1 / math.sqrt(400)
    assert A.abs().max() <= bound and A.abs().max() > 0.999 * bound
    assert A.var().item() == pytest.approx(bound**2 / 3, rel=0.03)  # 20,000 draws: standard error 0.6 %
    same = ft.add_lora_(copy.deepcopy(wide), rank=50, generator=generator(7))["0"].A
    other = ft.add_lora_(copy.deepcopy(wide), rank=50, generator=generator(8))["0"].A
    assert torch.equal(A, same) and not torch.equal(A, other)


@pytest.mark.parametrize("merged", [False, True])
def test_the_same_numbers_as_peft(merged):
    plain = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))
    ours, theirs = copy.deepcopy(plain), copy.deepcopy(plain)
    adapters = ft.add_lora_(ours, rank=3, alpha=5, targets=["0", "2"])
    shake_(adapters)
    theirs = get_peft_model(theirs, LoraConfig(r=3, lora_alpha=5, target_modules=["0", "2"]))
    for name, adapter in adapters.items():
        layer = theirs.base_model.model[int(name)]
        layer.lora_A["default"].weight.data = adapter.A.detach().clone()
        layer.lora_B["default"].weight.data = adapter.B.detach().clone()
    x = normal(7, 6)
    if merged:
        torch.testing.assert_close(ft.merge_lora_(ours)(x), theirs.merge_and_unload()(x), rtol=0, atol=1e-6)
        return
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    for name, adapter in adapters.items():
        layer = theirs.base_model.model[int(name)]
        torch.testing.assert_close(adapter.A.grad, layer.lora_A["default"].weight.grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(adapter.B.grad, layer.lora_B["default"].weight.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_merging_gives_the_plain_model_with_the_same_answers_and_names(tied):
    model = gpt(tied=tied).double()
    names, kinds = list(model.state_dict()), [type(m) for m in model.modules()]
    start = copy.deepcopy(model)
    adapters = ft.add_lora_(model, rank=2, targets=None if tied else ["qkv", "down", "head"])
    shake_(adapters)
    updates = {name: adapter.update.detach() for name, adapter in adapters.items()}
    with_adapters = model(tokens())[0]
    merged = ft.merge_lora_(model)
    assert merged is model
    assert list(model.state_dict()) == names and [type(m) for m in model.modules()] == kinds
    assert all(p.requires_grad for p in model.parameters())
    torch.testing.assert_close(model(tokens())[0], with_adapters, rtol=0, atol=1e-12)
    for name, update in updates.items():
        moved = model.get_submodule(name).weight - start.get_submodule(name).weight
        torch.testing.assert_close(moved, update, rtol=0, atol=1e-6)
        assert torch.linalg.matrix_rank(update) == 2
    start.load_state_dict(model.state_dict())
    assert torch.equal(start(tokens())[0], model(tokens())[0])
    ft.add_lora_(model, rank=1)  # a merged model takes new adapters


def test_training_with_lora_moves_the_adapters_alone():
    model = MLP([6, 8, 8, 4])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ft.add_lora_(model, rank=2)
    history = training.fit(model, [digit_like()], steps=60, lr=3e-2, device="cpu")
    assert history.loss[-1] < 0.7 * history.loss[0]
    base = {name.replace(".base", ""): p for name, p in model.named_parameters()}
    assert all(torch.equal(base[name], old) for name, old in before.items())


@pytest.mark.parametrize(("options", "message"), [
    ({"rank": 0}, "rank 0: blocks.0.attention.qkv is 36 x 12, choose 1 to 12"),
    ({"rank": 1.5}, "rank 1.5: blocks.0.attention.qkv is 36 x 12, choose 1 to 12"),
    ({"alpha": math.nan}, "alpha nan: expected a finite number"),
    ({"rank": 13}, "rank 13: blocks.0.attention.qkv is 36 x 12, choose 1 to 12"),
    ({"targets": ["q_proj"]}, "targets 'q_proj' matches no linear layer: this model has blocks.0.attention.qkv"),
    ({"targets": ["qkv", "kv"]}, "targets 'kv' matches no linear layer"),
    ({"targets": []}, "no layer to adapt: name some in targets"),
    ({"targets": ["head"]}, "head shares its matrix, and a merge would change both: give a model with tied=False"),
])  # fmt: skip
def test_lora_refuses_and_leaves_the_model_as_it_was(options, message):
    model = gpt()
    with pytest.raises(ValueError, match=message):
        ft.add_lora_(model, **options)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(isinstance(module, ft.LoRALinear) for module in model.modules())


def test_lora_keeps_the_models_mode():
    model = gpt().eval()
    ft.add_lora_(model)
    assert not any(module.training for module in model.modules())


def test_lora_is_added_once_and_merged_once():
    model = gpt()
    with pytest.raises(ValueError, match="no LoRA adapters: call add_lora_ first"):
        ft.merge_lora_(model)
    ft.add_lora_(model)
    with pytest.raises(ValueError, match="already has LoRA adapters: merge_lora_ first"):
        ft.add_lora_(model)
    with pytest.raises(ValueError, match="no layer to adapt"):
        ft.add_lora_(MLP([6, 4]))
    with pytest.raises(TypeError, match="LoRA replaces layers within a model"):
        ft.add_lora_(nn.Linear(6, 4))
    assert set(ft.add_lora_(nn.Sequential(nn.Linear(6, 4)), targets="0")) == {"0"}


# --- replay and penalties ---------------------------------------------------------------------------------------------


def counted_batches(offset):
    def batches(rng):
        rows = torch.randint(1000, (50,), generator=rng) + offset
        return torch.stack([rows, rows], 1), rows

    return batches


def test_replay_takes_whole_rows_from_the_old_data_at_its_share():
    mixed = ft.replay_batches(counted_batches(0), counted_batches(1000))
    rng, old = generator(0), 0
    for _ in range(200):
        inputs, targets = mixed(rng, replay=0.2)
        assert torch.equal(inputs[:, 0], targets) and torch.equal(inputs[:, 1], targets)
        old += (targets >= 1000).sum().item()
    assert abs(old / 10_000 - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 10_000)


def test_replay_runs_see_the_same_rows_whatever_the_share():
    mixed = ft.replay_batches(counted_batches(0), counted_batches(1000))
    none, some, more, every = (mixed(generator(3), replay=r)[1] for r in (0.0, 0.3, 0.6, 1.0))
    assert (none < 1000).all() and (every >= 1000).all()
    for part in (some, more):
        assert torch.equal(part, torch.where(part < 1000, none, every))
    assert set(some[some >= 1000].tolist()) < set(more[more >= 1000].tolist())


def test_replay_is_a_knob_of_training():
    old, new = digit_like(seed=1), digit_like(seed=5)
    experiment = training.Experiment(
        model=lambda g: MLP([6, 8, 4]), batches=ft.replay_batches(lambda g: new, lambda g: old), steps=3)
    run = experiment.start(0, device="cpu")
    assert run.knobs["replay"] == 0.05
    run.set("replay", 1.0)
    expected = F.cross_entropy(run.model(old[0]), old[1]).item()
    assert run.step() == pytest.approx(expected, rel=1e-6)


def test_replay_refuses_other_shapes_and_shares():
    mixed = ft.replay_batches(lambda g: (torch.ones(2, 3),), lambda g: (torch.ones(2, 4),))
    with pytest.raises(ValueError, match=r"new rows are \[\(2, 3\)\], old rows \[\(2, 4\)\]: give both the same"):
        mixed(generator(0))
    with pytest.raises(ValueError, match="replay 1.5: expected a share from 0 to 1"):
        mixed(generator(0), replay=1.5)


def moved(model, seed=0):
    other = copy.deepcopy(model)
    for number, p in enumerate(other.parameters()):
        p.data += normal(*p.shape, seed=seed + number).to(p)
    return other


def test_penalties_are_zero_at_the_start_and_their_gradient_is_the_importance_times_the_move():
    start = MLP([3, 4, 2]).double()
    model = moved(start)
    fisher = {name: normal(*p.shape, seed=9).double().square() for name, p in start.named_parameters()}
    same = copy.deepcopy(start)
    assert ft.ewc_penalty(same, fisher, start).item() == 0 == ft.l2_sp_penalty(same, start).item()
    for penalty, weight in (
        (lambda: ft.ewc_penalty(model, fisher, start), lambda name: fisher[name]),
        (lambda: ft.l2_sp_penalty(model, start), lambda name: 1.0),
    ):
        model.zero_grad()
        start.zero_grad()
        penalty().backward()
        for (name, now), old in zip(model.named_parameters(), start.parameters(), strict=True):
            torch.testing.assert_close(now.grad, weight(name) * (now - old).detach(), rtol=1e-12, atol=1e-12)
            assert old.grad is None


def test_ewc_minimum_of_a_quadratic_is_the_weighed_mean_of_both_tasks():
    # new task 1/2 a (w - 5)², old task 1/2 f (w - 1)²: the least of the sum is at (a 5 + f 1) / (a + f)
    model = nn.Linear(1, 1, bias=False).double()
    start = copy.deepcopy(model)
    start.weight.data.fill_(1.0)
    fisher, a = {"weight": torch.full((1, 1), 3.0, dtype=torch.float64)}, 2.0
    model.weight.data.fill_((a * 5 + 0.5 * 3 * 1) / (a + 0.5 * 3))
    (0.5 * a * (model.weight - 5).square().sum() + 0.5 * ft.ewc_penalty(model, fisher, start)).backward()
    assert model.weight.grad.abs().item() < 1e-12


def test_only_the_weights_that_the_reference_names_are_held():
    model = MLP([3, 4, 2])
    start = {name: p.detach().clone() + 1 for name, p in model.named_parameters() if name.startswith("layers.0")}
    assert ft.l2_sp_penalty(model, start).item() == pytest.approx(0.5 * (12 + 4), rel=1e-6)


def test_penalties_refuse_a_reference_that_does_not_fit():
    model, other = MLP([3, 4, 2]), MLP([3, 5, 2])
    with pytest.raises(ValueError, match=r"layers.0.weight: the model has \(4, 3\), the reference \(5, 3\)"):
        ft.l2_sp_penalty(model, other)
    with pytest.raises(ValueError, match=r"layers.9.weight: the model has nothing, the reference \(2,\)"):
        ft.l2_sp_penalty(model, {"layers.9.weight": torch.ones(2)})
    with pytest.raises(ValueError, match="reference has no layers.0.bias"):
        ft.ewc_penalty(model, {"layers.0.bias": torch.ones(4)}, {})
    with pytest.raises(ValueError, match=r"layers.0.bias: fisher has \(1,\), the model \(4,\)"):
        ft.ewc_penalty(model, {"layers.0.bias": torch.ones(1)}, copy.deepcopy(model))
    for alias in (model, model.state_dict()):
        with pytest.raises(ValueError, match="shares the model's memory"):
            ft.l2_sp_penalty(model, alias)


@pytest.mark.parametrize("kind", ["l2", "ewc", "lora"])
def test_a_training_step_touches_nothing_outside_its_device(kind):
    with torch.device("meta"):
        model = gpt()
    start = copy.deepcopy(model)
    fisher = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    penalty = {"l2": lambda: ft.l2_sp_penalty(model, start), "ewc": lambda: ft.ewc_penalty(model, fisher, start),
               "lora": lambda: 0.0}[kind]  # fmt: skip
    if kind == "lora":
        ft.add_lora_(model)
    batches = ft.replay_batches(lambda g: (tokens().to("meta"),) * 2, lambda g: (tokens().to("meta"),) * 2)
    training.fit(model, batches, steps=1, lr=1e-3, loss=lambda *both: training.default_loss(*both) + penalty(),
                 device="meta")  # fmt: skip
    assert all(p.grad.is_meta for p in model.parameters() if p.requires_grad)


# --- Fisher information -----------------------------------------------------------------------------------------------


def test_exact_fisher_of_softmax_regression_in_closed_form():
    model = MLP([6, 4]).double()
    x, labels = digit_like()
    x = x.double()
    fisher = ft.fisher_diagonal(model, [(x[:20], labels[:20]), (x[20:], labels[20:])])
    p = model(x).softmax(-1).detach()
    spread = p * (1 - p)  # the variance of each class's indicator
    torch.testing.assert_close(fisher["layers.0.bias"], spread.mean(0), rtol=1e-10, atol=0)
    torch.testing.assert_close(fisher["layers.0.weight"], spread.T @ x.square() / len(x), rtol=1e-10, atol=0)


def full_fisher(model, x):
    """J' (diag p - p p') J, mean over rows: the whole matrix, over all weights in order."""
    total = 0
    for row in x:
        out = model(row[None])
        logits = (out[0] if isinstance(out, tuple) else out).reshape(-1, 4)  # (tokens, classes)
        for z in logits:
            rows = [torch.autograd.grad(one, list(model.parameters()), retain_graph=True) for one in z]
            J = torch.stack([torch.cat([g.flatten() for g in gradients]) for gradients in rows])  # (classes, weights)
            p = z.detach().softmax(-1)
            total = total + J.T @ (p.diag() - p[:, None] * p) @ J
    return total / len(x)


@pytest.mark.parametrize("kind", ["mlp", "gpt"])
def test_exact_fisher_is_the_diagonal_of_the_full_one(kind):
    if kind == "mlp":
        model, x, labels = MLP([3, 5, 4], activation="tanh").double(), normal(7, 3).double(), torch.zeros(7).long()
    else:
        model = gpt(vocab_size=4, width=4, layers=1, context=3).double()
        x = torch.randint(4, (3, 3), generator=generator(0))
        labels = x
    fisher = ft.fisher_diagonal(model, [(x, labels)])
    diagonal = torch.cat([f.flatten() for f in fisher.values()])
    torch.testing.assert_close(diagonal, full_fisher(model, x).diagonal(), rtol=1e-8, atol=1e-14)


def test_empirical_fisher_is_the_mean_square_of_each_rows_gradient():
    model = gpt().double()
    x, targets = tokens(rows=3), tokens(rows=3, seed=1)
    targets[:, :4] = IGNORE
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for row, target in zip(x, targets, strict=True):
        model.zero_grad()
        F.cross_entropy(model(row[None])[0][0], target, ignore_index=IGNORE, reduction="sum").backward()
        for name, p in model.named_parameters():
            expected[name] += p.grad.square() / 3
    fisher = ft.fisher_diagonal(model, [(x, targets)], labels="empirical")
    for name, value in expected.items():
        torch.testing.assert_close(fisher[name], value, rtol=1e-10, atol=1e-16)


def test_sampled_fisher_is_right_on_average_and_follows_its_generator():
    model = MLP([3, 4]).double()
    x = normal(5, 3).double()
    many = [(x, torch.zeros(5).long())] * 400
    exact = ft.fisher_diagonal(model, many[:1])
    drawn = ft.fisher_diagonal(model, many, labels="sampled", generator=generator(1))
    for name in exact:
        torch.testing.assert_close(drawn[name], exact[name], rtol=0.15, atol=0.0)  # over 2,000 draws
    short = [ft.fisher_diagonal(model, many[:2], labels="sampled", generator=generator(s)) for s in (1, 1, 2)]
    assert torch.equal(short[0]["layers.0.bias"], short[1]["layers.0.bias"])
    assert not torch.equal(short[0]["layers.0.bias"], short[2]["layers.0.bias"])


@pytest.mark.parametrize("labels", ["exact", "sampled", "empirical"])
def test_fisher_ignores_uncounted_places_and_frozen_weights(labels):
    model = gpt(vocab_size=4, context=3)
    names = ft.freeze_(model, train_last=2)
    x = torch.randint(4, (2, 3), generator=generator(0))
    nothing = ft.fisher_diagonal(model, [(x, torch.full_like(x, IGNORE))], labels=labels)
    assert list(nothing) == names and all(f.abs().max() == 0 for f in nothing.values())
    one = torch.tensor([[IGNORE, 1, IGNORE]] * 2)
    shorter = ft.fisher_diagonal(model, [(x[:, :2], one[:, :2])], labels=labels)
    for name, f in ft.fisher_diagonal(model, [(x, one)], labels=labels).items():
        torch.testing.assert_close(f, shorter[name], rtol=1e-4, atol=1e-9)  # a causal model: what follows is not read


def test_fisher_takes_gradients_where_none_are_kept():
    model, rows = MLP([3, 4, 2]), [(torch.ones(2, 3), torch.tensor([0, 1]))]
    with torch.no_grad():
        found = ft.fisher_diagonal(model, rows)
    assert all(torch.equal(found[name], value) for name, value in ft.fisher_diagonal(model, rows).items())


def test_fisher_refuses_what_it_cannot_use():
    model = MLP([3, 4])
    with pytest.raises(ValueError, match="labels 'true': choose one of exact, sampled, empirical"):
        ft.fisher_diagonal(model, [], labels="true")
    with pytest.raises(ValueError, match="batches gave no rows"):
        ft.fisher_diagonal(model, [])
    ft.freeze_(model)
    with pytest.raises(ValueError, match="no trainable weight: thaw it"):
        ft.fisher_diagonal(model, [])


# --- between models ---------------------------------------------------------------------------------------------------


def test_interpolation_is_exact_at_its_ends_linear_between_and_a_new_model():
    a = gpt()
    b = moved(a)
    kept = [copy.deepcopy(m.state_dict()) for m in (a, b)]
    for alpha, end in ((0, a), (1, b)):
        state = ft.interpolate(a, b, alpha).state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in end.state_dict().items())
    between = ft.interpolate(a, b, 0.3)
    for name, mixed in between.state_dict().items():
        torch.testing.assert_close(mixed, 0.7 * kept[0][name] + 0.3 * kept[1][name], rtol=1e-6, atol=1e-7)
    assert between.head.weight is between.embed.weight
    for p in between.parameters():
        p.data.zero_()
    for model, state in zip((a, b), kept, strict=True):
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())


def test_a_linear_model_interpolates_its_answers():
    a, b, x = MLP([6, 4]).double(), MLP([6, 4]).double(), normal(5, 6).double()
    torch.testing.assert_close(ft.interpolate(a, b, 0.25)(x), 0.75 * a(x) + 0.25 * b(x))


def test_buffers_mix_and_integer_ones_come_from_the_nearer_model():
    a, b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    a.running_mean.fill_(0.0)
    b.running_mean.fill_(1.0)
    a.num_batches_tracked.fill_(10)
    b.num_batches_tracked.fill_(20)
    for alpha, count in ((0.25, 10), (0.75, 20)):
        mixed = ft.interpolate(a, b, alpha)
        assert mixed.num_batches_tracked.item() == count and mixed.num_batches_tracked.dtype == torch.int64
        torch.testing.assert_close(mixed.running_mean, torch.full((3,), alpha))


def test_an_infinite_weight_does_not_reach_the_other_end():
    a, b = MLP([2, 2]), MLP([2, 2])
    a.layers[0].weight.data.fill_(math.inf)
    assert torch.equal(ft.interpolate(a, b, 1.0).layers[0].weight, b.layers[0].weight)


def test_average_is_the_mean_and_of_two_the_middle():
    parts = [moved(MLP([6, 5, 4]).double(), seed=s) for s in (0, 10, 20)]
    for name, mean in ft.average(parts).state_dict().items():
        torch.testing.assert_close(mean, torch.stack([m.state_dict()[name] for m in parts]).mean(0))
    pair = ft.average(parts[:2]).state_dict()
    assert all(torch.equal(t, pair[name]) for name, t in ft.interpolate(*parts[:2], 0.5).state_dict().items())


def test_mixing_refuses_models_of_other_shapes():
    with pytest.raises(ValueError, match=r"layers.0.weight: one model has \(5, 6\), another \(7, 6\)"):
        ft.interpolate(MLP([6, 5, 4]), MLP([6, 7, 4]), 0.5)
    with pytest.raises(ValueError, match=r"layers.1.weight: one model has nothing, another \(4, 4\)"):
        ft.average([MLP([6, 4]), MLP([6, 4, 4])])
    with pytest.raises(ValueError, match="no models to average"):
        ft.average([])


@pytest.mark.parametrize(("one", "two", "message"), [
    (lambda: MLP([6, 4, 2]), lambda: MLP([6, 4, 2], activation="tanh"), "activation 'relu', .* activation 'tanh'"),
    (lambda: gpt(heads=2), lambda: gpt(heads=4), "heads 2, tied True, another heads 4, tied True"),
    (lambda: gpt(tied=True), lambda: gpt(tied=False), "tied True, another .*tied False: their weights do not mean"),
])  # fmt: skip
def test_mixing_refuses_weights_that_mean_something_else(one, two, message):
    for alpha in (0.5, 1.0):
        with pytest.raises(ValueError, match=message):
            ft.interpolate(one(), two(), alpha)


def test_a_place_between_two_models_is_a_finite_number():
    with pytest.raises(ValueError, match="alpha nan: expected a finite number"):
        ft.interpolate(MLP([6, 4]), MLP([6, 4]), math.nan)


# --- the update's spectrum --------------------------------------------------------------------------------------------


def test_the_spectrum_of_a_lora_update_ends_at_its_rank():
    model = gpt()
    start = copy.deepcopy(model)
    adapters = ft.add_lora_(model, rank=3)
    shake_(adapters)
    spectra = ranks.spectrum_of_update(start, ft.merge_lora_(copy.deepcopy(model)))
    assert set(spectra) == {name for name, p in start.named_parameters() if p.ndim == 2}
    for name, adapter in adapters.items():
        values = spectra[f"{name}.weight"]
        expected = torch.linalg.svdvals(adapter.update.detach().double())
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
        assert values[3] < 1e-5 * values[0]
        assert ranks.rank_for(values, share=0.9999) == 3
    assert ranks.rank_for(spectra["embed.weight"]) == 0


@pytest.mark.parametrize(("values", "ninety"), [
    ([2.0, 2.0, 2.0, 2.0], 4), ([5.0, 0.0, 0.0], 1), ([3.0, 3.0, 0.0], 2), ([3.0, 1.0], 1),
])  # fmt: skip
def test_ranks_of_known_spectra(values, ninety):
    values = torch.tensor(values, dtype=torch.float64)
    assert ranks.rank_for(values) == ninety  # 3² / (3² + 1²) is 0.9


def test_a_share_of_a_spectrum_lies_between_nothing_and_all():
    for share in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match="expected above 0, up to 1"):
            ranks.rank_for(torch.ones(3), share)


def test_the_spectrum_needs_models_of_the_same_names():
    model = gpt()
    start = copy.deepcopy(model)
    ft.add_lora_(model)
    with pytest.raises(ValueError, match="blocks.0.attention.qkv.weight: the model has nothing"):
        ranks.spectrum_of_update(start, model)
