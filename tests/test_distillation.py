"""Laws of distillation: limits in T and alpha, an independent reference, copied weights, measures."""

import copy
import math
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from chapters.distillation.measures import answer_time
from course_utils import distillation as ds
from course_utils import training
from course_utils.models import GPT, IGNORE, MLP, GPTConfig
from course_utils.runtime import generator


@pytest.fixture(autouse=True)
def fixed_start():
    with torch.random.fork_rng(devices=[]):  # nn.Linear starts from the global generator
        torch.manual_seed(0)
        yield


def gpt(**changes):
    return GPT(GPTConfig(**{"vocab_size": 11, "context": 8, "width": 12, "heads": 2, "layers": 2, **changes}))


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def pair(*shape, scale=3.0):
    """Logits of a student (with gradient) and of a teacher, and labels."""
    student = (scale * normal(*shape, seed=1)).requires_grad_()
    return student, scale * normal(*shape, seed=2), torch.randint(shape[-1], shape[:-1], generator=generator(3))


def gradient(loss, of):
    return torch.autograd.grad(loss, of)[0]


# --- the loss ---------------------------------------------------------------------------------------------------------


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def reference_loss(student, teacher, labels, temperature, alpha):
    """The definition, place by place, in numpy."""
    soft, hard, places = 0.0, 0.0, 0
    for z, t, label in zip(student.reshape(-1, student.shape[-1]), teacher.reshape(-1, teacher.shape[-1]),
                           labels.reshape(-1), strict=True):  # fmt: skip
        if label == -100:
            continue
        p, q = softmax(t / temperature), softmax(z / temperature)
        soft += sum(p[k] * (np.log(p[k]) - np.log(q[k])) for k in range(len(p)))
        hard -= np.log(softmax(z)[label])
        places += 1
    return alpha * temperature**2 * soft / places + (1 - alpha) * hard / places


@pytest.mark.parametrize("shape", [(5, 4), (3, 6, 7)], ids=["classes", "tokens"])
@pytest.mark.parametrize(("temperature", "alpha"), [(4.0, 0.9), (1.0, 0.5), (0.5, 1.0), (20.0, 0.0)])
def test_the_loss_is_its_definition(shape, temperature, alpha):
    student, teacher, labels = pair(*shape)
    labels[0] = IGNORE
    ours = ds.distillation_loss(student, teacher, labels, temperature=temperature, alpha=alpha).item()
    theirs = reference_loss(student.detach().numpy(), teacher.numpy(), labels.numpy(), temperature, alpha)
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_alpha_goes_from_the_labels_alone_to_the_teacher_alone():
    student, teacher, labels = pair(6, 5)
    loss = lambda alpha, t=teacher, y=labels: ds.distillation_loss(student, t, y, temperature=3.0, alpha=alpha)  # noqa: E731
    hard, soft = loss(0.0), loss(1.0)
    torch.testing.assert_close(hard, F.cross_entropy(student, labels))
    kl = F.kl_div((student / 3).log_softmax(-1), (teacher / 3).softmax(-1), reduction="batchmean")
    torch.testing.assert_close(soft, 9 * kl)
    torch.testing.assert_close(loss(0.3), 0.3 * soft + 0.7 * hard)
    assert torch.equal(loss(0.0, teacher * math.nan), hard)
    assert torch.equal(loss(1.0, y=None), soft)
    assert torch.equal(loss(1.0, y=(labels + 1) % 5), soft)
    ruled_out = torch.cat([student.detach()[:, :4], torch.full((6, 1), -math.inf)], -1)  # hard loss: infinite
    assert ds.distillation_loss(ruled_out, teacher, torch.full((6,), 4), alpha=1.0).isfinite()


def test_the_defaults_are_a_temperature_of_4_and_an_alpha_of_nine_tenths():
    student, teacher, labels = pair(6, 5)
    given = ds.distillation_loss(student, teacher, labels, temperature=4.0, alpha=0.9)
    assert torch.equal(ds.distillation_loss(student, teacher, labels), given)


def test_the_loss_of_the_teacher_itself_is_zero_and_flat():
    _, teacher, _ = pair(6, 5)
    student = teacher.clone().requires_grad_()
    for divergence in ds.DIVERGENCES.values():
        loss = divergence(student, teacher, temperature=2.0)
        assert abs(loss.item()) < 1e-15 and gradient(loss, student).abs().max() < 1e-15


def test_soft_gradient_is_the_gap_in_probability_times_T():
    student, teacher, _ = pair(6, 5)
    for T in (0.5, 1.0, 8.0):
        loss = ds.distillation_loss(student, teacher, temperature=T, alpha=1.0)
        gap = ds.soft_targets(student.detach(), T) - ds.soft_targets(teacher, T)
        torch.testing.assert_close(gradient(loss, student), T * gap / 6, rtol=1e-10, atol=1e-14)


def test_at_high_temperature_the_gradient_tends_to_matching_logits():
    student, teacher, _ = pair(1, 10, scale=2.0)
    errors = []
    for T in (10.0, 100.0, 1000.0):
        exact = gradient(ds.forward_kl(student, teacher, temperature=T), student)
        limit = ds.high_temperature_gradient(student.detach(), teacher, T)
        errors.append(((exact - limit).norm() / limit.norm()).item())
    assert errors[0] > 0.05  # not yet the limit at a T of the logits' own size
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.05)  # the error falls as 1 / T
    scaled = T**2 * limit
    centred = student.detach() - student.detach().mean() - (teacher - teacher.mean())
    torch.testing.assert_close(scaled, centred / 10)
    torch.testing.assert_close(ds.high_temperature_gradient(student.detach() + 5, teacher, T), limit)


def test_T_squared_keeps_the_gradient_in_size():
    student, teacher, _ = pair(8, 10, scale=2.0)
    with_factor = [gradient(ds.distillation_loss(student, teacher, temperature=T, alpha=1.0), student).norm().item()
                   for T in (50.0, 500.0)]  # fmt: skip
    without = [gradient(ds.forward_kl(student, teacher, temperature=T), student).norm().item() for T in (50.0, 500.0)]
    assert with_factor[0] / with_factor[1] == pytest.approx(1, abs=0.05)
    assert without[0] / without[1] == pytest.approx(100, rel=0.05)


def test_soft_targets_go_from_one_hot_to_uniform():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    torch.testing.assert_close(ds.soft_targets(logits), logits.softmax(-1))
    torch.testing.assert_close(ds.soft_targets(logits, 1e-3), torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(ds.soft_targets(logits, 1e6), torch.full((1, 3), 1 / 3), rtol=1e-5, atol=0)
    torch.testing.assert_close(ds.soft_targets(logits + 100, 2.0), ds.soft_targets(logits, 2.0))


@pytest.mark.parametrize("name", [*ds.DIVERGENCES, "loss", "smoothing"])
def test_gradients_are_the_derivatives(name):
    student, teacher, labels = pair(2, 3, 4, scale=1.0)
    labels[0, 1] = IGNORE
    losses = {
        "loss": lambda z: ds.distillation_loss(z, teacher, labels, temperature=2.0, alpha=0.7),
        "smoothing": lambda z: ds.label_smoothing(z, labels, smoothing=0.2),
    }
    loss = losses.get(name) or (lambda z: ds.DIVERGENCES[name](z, teacher, labels, temperature=2.0))
    assert torch.autograd.gradcheck(loss, student)


@pytest.mark.parametrize("divergence", [*ds.DIVERGENCES.values(), ds.distillation_loss])
def test_no_gradient_reaches_the_teacher(divergence):
    student, teacher, labels = pair(4, 5)
    teacher.requires_grad_()
    divergence(student, teacher, labels).backward()
    assert teacher.grad is None and student.grad.abs().max() > 0


@pytest.mark.parametrize("name", [*ds.DIVERGENCES, "loss", "smoothing"])
def test_ignored_tokens_do_not_count(name):
    student, teacher, labels = pair(3, 6, 5)
    labels[:, :2], labels[1, 4] = IGNORE, IGNORE
    counted = labels != IGNORE
    loss = {"loss": ds.distillation_loss, "smoothing": lambda z, t, y: ds.label_smoothing(z, y)} | ds.DIVERGENCES
    whole = loss[name](student, teacher, labels)
    torch.testing.assert_close(whole, loss[name](student[counted], teacher[counted], labels[counted]))
    assert gradient(whole, student)[~counted].abs().max() == 0
    nothing = loss[name](student, teacher, torch.full_like(labels, IGNORE))
    assert nothing.item() == 0 and gradient(nothing, student).abs().max() == 0


@pytest.mark.parametrize("name", [*ds.DIVERGENCES, "loss"])
@pytest.mark.parametrize("temperature", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("case", ["huge", "masked by both", "masked by the student", "masked by the teacher"])
def test_extreme_logits_and_temperatures_give_numbers(name, temperature, case):
    student, teacher = normal(4, 5, seed=1, dtype=torch.float32), normal(4, 5, seed=2, dtype=torch.float32)
    if case == "huge":
        student, teacher = 1e15 * student, -1e15 * teacher
    if case in ("masked by both", "masked by the student"):
        student[:, 1] = -math.inf
    if case in ("masked by both", "masked by the teacher"):
        teacher[:, 1] = -math.inf
    student.requires_grad_()
    if name == "loss":
        loss = ds.distillation_loss(student, teacher, torch.zeros(4).long(), temperature=temperature)
    else:
        loss = ds.DIVERGENCES[name](student, teacher, temperature=temperature)
    assert not loss.isnan() and loss.item() >= 0
    assert gradient(loss, student).isfinite().all()


def test_classes_that_both_rule_out_do_not_matter():
    student, teacher, labels = pair(4, 5)
    wide = [torch.cat([z, torch.full((4, 2), -math.inf)], -1) for z in (student, teacher)]
    for divergence in ds.DIVERGENCES.values():
        torch.testing.assert_close(divergence(*wide, temperature=2.0), divergence(student, teacher, temperature=2.0))
    torch.testing.assert_close(ds.distillation_loss(*wide, labels), ds.distillation_loss(student, teacher, labels))


def test_one_place_and_any_integers_will_do():
    student, teacher, labels = pair(3, 5)
    loss = ds.distillation_loss(student, teacher, labels)
    assert torch.equal(ds.distillation_loss(student, teacher, labels.int()), loss)
    alone = [ds.distillation_loss(*row) for row in zip(student, teacher, labels, strict=True)]  # (classes,) each
    torch.testing.assert_close(torch.stack(alone).mean(), loss)


def test_float32_logits_lose_nothing_to_T_squared():
    student, teacher, _ = pair(16, 10)
    exact = ds.distillation_loss(student, teacher, temperature=1000.0, alpha=1.0).item()
    rounded = [z.detach().float() for z in (student, teacher)]
    assert ds.distillation_loss(*rounded, temperature=1000.0, alpha=1.0).item() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(("change", "message"), [
    ({"temperature": 0.0}, "temperature 0.0: expected a finite number above 0"),
    ({"temperature": -1.0, "alpha": 0.0}, "temperature -1.0"),
    ({"temperature": math.inf}, "temperature inf"),
    ({"temperature": math.nan}, "temperature nan"),
    ({"alpha": -0.1}, "alpha -0.1: expected from 0"),
    ({"alpha": 1.1}, "alpha 1.1: expected from 0"),
    ({"labels": None}, "alpha 0.9 needs labels for its hard part: give labels, or alpha=1"),
    ({"labels": torch.zeros(4, 1).long()}, r"labels \(4, 1\), torch.int64: expected \(4,\) integers"),
    ({"labels": torch.zeros(4)}, r"labels \(4,\), torch.float32: expected \(4,\) integers"),
    ({"teacher_logits": torch.zeros(4, 6)}, r"student logits are \(4, 5\), teacher logits \(4, 6\)"),
    ({"teacher_logits": torch.zeros(1, 5)}, r"student logits are \(4, 5\), teacher logits \(1, 5\)"),
])  # fmt: skip
def test_the_loss_refuses_what_makes_no_sense(change, message):
    good = {"student_logits": torch.zeros(4, 5), "teacher_logits": torch.zeros(4, 5), "labels": torch.zeros(4).long()}
    with pytest.raises(ValueError, match=message):
        ds.distillation_loss(**(good | change))


# --- other divergences and controls -----------------------------------------------------------------------------------


def test_reverse_kl_is_forward_kl_with_the_roles_exchanged():
    student, teacher, _ = pair(6, 5)
    reverse = ds.reverse_kl(student, teacher, temperature=2.0)
    torch.testing.assert_close(reverse, ds.forward_kl(teacher, student, temperature=2.0))


def test_forward_covers_and_reverse_seeks_a_mode():
    teacher = torch.tensor([[0.5, 0.5, 1e-9]]).log()  # two things it might say
    both, one = torch.tensor([[1 / 3, 1 / 3, 1 / 3]]).log(), torch.tensor([[0.98, 0.01, 0.01]]).log()
    assert ds.forward_kl(both, teacher) < ds.forward_kl(one, teacher)
    assert ds.reverse_kl(one, teacher) < ds.reverse_kl(both, teacher)


def test_jensen_shannon_lies_between_the_two_and_is_bounded():
    student, teacher, _ = pair(6, 5)
    torch.testing.assert_close(ds.jensen_shannon(student, teacher), ds.jensen_shannon(teacher, student))
    near = 1e-7
    for beta, kl, share in ((near, ds.forward_kl, near), (1 - near, ds.reverse_kl, near)):
        torch.testing.assert_close(
            ds.jensen_shannon(student, teacher, beta=beta) / share, kl(student, teacher), rtol=1e-4, atol=0)
    apart = torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 100.0]])
    assert ds.jensen_shannon(*apart).item() == pytest.approx(math.log(2), rel=1e-6)
    for beta in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"beta {beta}: expected a share between 0 and 1"):
            ds.jensen_shannon(student, teacher, beta=beta)


def test_label_smoothing_is_a_teacher_that_knows_nothing():
    student, _, labels = pair(6, 5)
    blank = ds.distillation_loss(student, torch.zeros(6, 5), labels, temperature=1.0, alpha=0.2)
    torch.testing.assert_close(ds.label_smoothing(student, labels, smoothing=0.2), blank + 0.2 * math.log(5))
    torch.testing.assert_close(ds.label_smoothing(student, labels, smoothing=0.0), F.cross_entropy(student, labels))


def test_hint_loss_is_half_the_squared_distance():
    student, teacher = normal(5, 3), normal(5, 4, seed=1).requires_grad_()
    regressor = nn.Linear(3, 4).double()
    expected = sum(0.5 * (regressor(s) - t).square().sum() for s, t in zip(student, teacher, strict=True)) / 5
    loss = ds.hint_loss(student, teacher, regressor)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert teacher.grad is None and regressor.weight.grad.abs().max() > 0
    assert ds.hint_loss(student, student).item() == 0
    with pytest.raises(ValueError, match=r"\(5, 3\) cannot match a hint of \(5, 4\): give a regressor"):
        ds.hint_loss(student, teacher)


# --- losses for training ----------------------------------------------------------------------------------------------


def digit_like(rows=64):
    x = normal(rows, 6, dtype=torch.float32)
    return x, (x[:, :3].sum(-1) > 0).long() + 2 * (x[:, 3] > 0)


def test_the_knob_of_own_samples():
    teacher = MLP([6, 4])
    assert training.keyword_knobs(ds.on_policy_loss(teacher, lambda m, b: b)) == {"temperature": 1.0}


def test_a_student_learns_its_teacher_from_inputs_alone():
    x, labels = digit_like()
    teacher = MLP([6, 32, 4])
    training.fit(teacher, [(x, labels)], steps=150, lr=2e-2, device="cpu")
    teacher.zero_grad(set_to_none=True)
    kept = copy.deepcopy(teacher.state_dict())
    student = MLP([6, 8, 4])
    loss = lambda model, batch: ds.distillation_loss(model(batch[0]), teacher(batch[0]), alpha=1.0)  # noqa: E731
    assert ds.agreement(student(x), teacher(x)) < 0.6
    training.fit(student, [(x, None)], steps=150, lr=2e-2, loss=loss, device="cpu")
    assert ds.agreement(student(x), teacher(x)) > 0.9
    assert all(torch.equal(kept[name], t) for name, t in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def say_twos(student, batch):
    tokens = torch.cat([batch, torch.full_like(batch, 2)], 1)
    targets = torch.cat([torch.full_like(batch, IGNORE), torch.full_like(batch, 2)], 1)
    return tokens, targets


@pytest.mark.parametrize("divergence", list(ds.DIVERGENCES))
def test_on_policy_loss_compares_on_what_the_sampler_says(divergence):
    teacher, student, prompt = gpt(), gpt(layers=1), torch.randint(11, (2, 4), generator=generator(0))
    given = []
    loss = ds.on_policy_loss(teacher, lambda *both: given.append(both) or say_twos(*both), divergence=divergence)
    value = loss(student, prompt, temperature=2.0)
    assert given[0][0] is student and torch.equal(given[0][1], prompt)
    tokens, _ = say_twos(student, prompt)
    expected = ds.DIVERGENCES[divergence](student(tokens)[0][:, 4:], teacher(tokens)[0][:, 4:], temperature=2.0)
    torch.testing.assert_close(value, expected)


def test_teacher_and_sampler_build_no_graph():
    teacher, student, tokens = gpt(), gpt(layers=1), torch.randint(11, (2, 4), generator=generator(0))
    graphs = []
    teacher.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
    sampler = lambda *both: graphs.append(torch.is_grad_enabled()) or say_twos(*both)  # noqa: E731
    assert ds.on_policy_loss(teacher, sampler)(student, tokens).requires_grad
    assert graphs == [False, False]


def test_on_policy_refuses_an_unknown_divergence():
    with pytest.raises(ValueError, match="divergence 'js': choose one of forward, reverse, mix"):
        ds.on_policy_loss(gpt(), say_twos, divergence="js")


def test_hidden_is_what_the_next_layer_reads():
    model, x = MLP([6, 5, 5, 4], residual=True, norm=True), normal(3, 6, dtype=torch.float32)
    assert torch.equal(ds.hidden(model, x, 0), x)
    assert torch.equal(model.layers[2](ds.hidden(model, x, 2)), model(x))
    model, tokens = gpt(), torch.randint(11, (2, 8), generator=generator(0))
    assert torch.equal(ds.hidden(model, tokens, 0), model.start(tokens))
    assert torch.equal(model.head(model.norm(ds.hidden(model, tokens, 2))), model(tokens)[0])
    assert torch.equal(model.blocks[1](ds.hidden(model, tokens, 1)), ds.hidden(model, tokens, 2))
    assert not any(m._forward_pre_hooks for m in model.modules())
    for layer in (3, 0.5):
        with pytest.raises(ValueError, match=f"layer {layer}: this model has hints after 0 to 2 layers"):
            ds.hidden(model, tokens, layer)
    with pytest.raises(TypeError, match="the layers of a Linear are not known: expected GPTs or MLPs"):
        ds.hidden(nn.Linear(6, 4), x, 0)


@pytest.mark.parametrize("divergence", ds.DIVERGENCES)
def test_a_training_step_touches_nothing_outside_its_device(divergence):
    with torch.device("meta"):
        teacher, student = gpt(), gpt(layers=1)
        tokens = torch.zeros(2, 4, dtype=torch.long)
    loss = ds.on_policy_loss(teacher, say_twos, divergence=divergence)
    run = training.Experiment(model=lambda g: student, batches=[tokens], loss=loss, steps=1).start(device="meta")
    run.step()
    assert any(p.grad is not None and p.grad.is_meta for p in run.model.parameters())
    assert all(p.grad is None for p in teacher.parameters())


# --- copied layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_a_gpt_starts_from_its_teachers_blocks(tied):
    teacher, student = gpt(layers=4, tied=tied), gpt(layers=2, tied=tied)
    origin = ds.copy_layers_(student, teacher, layers=[0, 3])
    assert set(origin) == set(student.state_dict())
    assert origin["blocks.1.up.weight"] == "blocks.3.up.weight" and origin["head.weight"] == "head.weight"
    cut = copy.deepcopy(teacher)
    cut.blocks = nn.ModuleList([cut.blocks[0], cut.blocks[3]])
    tokens = torch.randint(11, (2, 8), generator=generator(0))
    assert torch.equal(student(tokens)[0], cut(tokens)[0])
    kept = copy.deepcopy(teacher.state_dict())
    for p in student.parameters():
        p.data.zero_()
    assert all(torch.equal(kept[name], t) for name, t in teacher.state_dict().items())  # copied, not shared


def test_an_mlp_starts_from_its_teachers_hidden_layers_and_head():
    teacher, student = MLP([6, 6, 6, 6, 4], norm=True), MLP([6, 6, 4], norm=True)
    teacher.norms[2].weight.data.fill_(2.0)
    origin = ds.copy_layers_(student, teacher, layers=[2])
    assert origin == {
        "layers.0.weight": "layers.2.weight", "layers.0.bias": "layers.2.bias",
        "layers.1.weight": "layers.3.weight", "layers.1.bias": "layers.3.bias",
        "norms.0.weight": "norms.2.weight", "norms.0.bias": "norms.2.bias"}
    x = normal(3, 6, dtype=torch.float32)
    expected = teacher.layers[3](teacher.act(teacher.norms[2](teacher.layers[2](x))))
    assert torch.equal(student(x), expected)


def test_copying_every_layer_makes_the_student_the_teacher():
    for build, layers in ((lambda: gpt(layers=3), 3), (lambda: MLP([6, 5, 7, 4]), 2)):
        student, teacher = build(), build()
        ds.copy_layers_(student, teacher, layers=range(layers))
        for (name, ours), theirs in zip(student.named_parameters(), teacher.parameters(), strict=True):
            assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(("student", "teacher", "layers", "message"), [
    (lambda: gpt(width=8), lambda: gpt(), [0, 1], r"embed.weight: student \(11, 8\), teacher \(11, 12\)"),
    (lambda: MLP([6, 5, 4]), lambda: MLP([6, 7, 7, 4]), [1], r"layers.0.weight from layers.1.weight: student \(5, 6\)"),
    (lambda: gpt(), lambda: gpt(layers=4), [0, 4], "layer 4: the teacher's layers are 0 to 3"),
    (lambda: gpt(), lambda: gpt(layers=4), [-1, 0], "layer -1: the teacher's layers are 0 to 3"),
    (lambda: gpt(), lambda: gpt(layers=4), [0, 0.5], "layer 0.5: the teacher's layers are 0 to 3"),
    (lambda: gpt(), lambda: gpt(layers=4), [0], "give one number for each of the student's 2 layers"),
    (lambda: gpt(heads=3), lambda: gpt(), [0, 1], "has {'heads': 3, 'tied': True}, the teacher {'heads': 2"),
    (lambda: gpt(), lambda: gpt(tied=False), [0, 1], "build the student with the teacher's settings"),
    (lambda: MLP([6, 6, 4], activation="tanh"), lambda: MLP([6, 6, 4]), [0], "the student has {'activation': 'tanh'"),
    (lambda: MLP([6, 6, 4]), lambda: MLP([6, 6, 4], norm=True), [0], "'norm': False"),
    (lambda: MLP([6, 6, 4], bias=False), lambda: MLP([6, 6, 4]), [0], "'bias': False"),
    (lambda: MLP([6, 6, 4]), lambda: MLP([6, 6, 4], residual=True), [0], "'residual': False"),
    (lambda: MLP([6, 6, 4]), lambda: gpt(), [0], "the student has {'activation': 'relu'"),
])  # fmt: skip
def test_copying_refuses_what_does_not_fit_and_copies_nothing(student, teacher, layers, message):
    student, teacher = student(), teacher()
    before = copy.deepcopy(student.state_dict())
    with pytest.raises(ValueError, match=message):
        ds.copy_layers_(student, teacher, layers=layers)
    assert all(torch.equal(before[name], t) for name, t in student.state_dict().items())


def test_copying_knows_two_kinds_of_models():
    with pytest.raises(TypeError, match="the layers of a Linear are not known"):
        ds.copy_layers_(nn.Linear(2, 2), nn.Linear(2, 2), layers=[])


# --- measures ---------------------------------------------------------------------------------------------------------


def test_pseudo_labels_are_the_best_class_where_the_teacher_is_sure():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3]])
    assert ds.pseudo_labels(p.log()).tolist() == [0, 1]
    assert ds.pseudo_labels(p.log(), threshold=0.5).tolist() == [0, IGNORE]


def test_agreement_counts_equal_choices():
    a = torch.eye(4)
    b = a[[0, 1, 3, 2]]
    assert ds.agreement(a, b) == 0.5
    assert ds.agreement(a, b, torch.tensor([0, IGNORE, IGNORE, 0])) == 0.5
    assert ds.agreement(a, b, torch.tensor([0, 0, IGNORE, IGNORE])) == 1.0
    assert ds.agreement(a, 9 * a + 1) == 1.0
    with pytest.raises(ValueError, match=r"student logits are \(4, 4\), teacher logits \(3, 4\)"):
        ds.agreement(a, b[:3])


def test_layers_may_be_numbers_of_any_kind():
    student, teacher = gpt(), gpt(layers=4)
    origin = ds.copy_layers_(student, teacher, layers=torch.tensor([0, 3]))
    assert origin["blocks.1.up.weight"] == "blocks.3.up.weight"


class Sleeper(nn.Module):
    """Answers late: much later the first time."""

    def __init__(self):
        super().__init__()
        self.calls, self.gradients = 0, []

    def forward(self, x):
        self.calls += 1
        self.gradients.append(torch.is_grad_enabled())
        time.sleep(0.2 if self.calls == 1 else 0.01)
        return x


def test_answer_time_counts_the_repeats_after_the_warmup():
    model = Sleeper()
    result = answer_time(model, torch.ones(1), repeats=9, warmup=1)
    assert model.calls == 10 and not any(model.gradients)
    assert 0.01 <= result.lower <= result.median <= result.upper
    late = [answer_time(Sleeper(), torch.ones(1), repeats=1, warmup=w).median for w in (0, 1)]
    assert late[0] >= 0.2 and late[1] < 0.4 * late[0]  # the slow first answer counts only without warmup
    with pytest.raises(ValueError, match="repeats 0, warmup 3"):
        answer_time(model, torch.ones(1), repeats=0)
