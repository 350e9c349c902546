"""Answers to the exercises of 04_initialization."""

import math

import numpy as np
import torch


def units_by_loop(incoming, outgoing):
    units = {tuple(row.tolist()) + tuple(column.tolist()) for row, column in zip(incoming, outgoing.T, strict=True)}
    return len(units)


def units_by_pairs(incoming, outgoing):
    units = torch.cat([incoming, outgoing.T], 1)
    same = (units[:, None] == units[None]).all(-1)
    return int((same.tril(-1).sum(1) == 0).sum())


def lsuv_by_loop(weights, signal):
    scaled = []
    for weight in weights:
        outputs = signal @ weight.T
        weight = weight / outputs.std(unbiased=False)
        scaled.append(weight)
        signal = torch.relu(signal @ weight.T)
    return scaled


def lsuv_in_rounds(weights, signal):
    """As the paper has it: measure, scale, and measure again until the variance is near 1."""
    scaled = []
    for weight in weights:
        while abs((signal @ weight.T).var() - 1) > 1e-4:
            weight = weight / (signal @ weight.T).var().sqrt()
        scaled.append(weight)
        signal = (signal @ weight.T).clamp(min=0)
    return scaled


def lsuv_in_place(weights, signal):
    for weight in weights:
        outputs = signal @ weight.T
        std = outputs.square().mean().sub(outputs.mean() ** 2).sqrt()
        weight /= std
        signal = (outputs / std).relu()
    return weights


def lsuv_unscaled_before(weights, signal):
    scaled = []
    for weight in weights:
        outputs = signal @ weight.T
        scaled.append(weight / outputs.std())
        signal = outputs.relu()
    return scaled


def lsuv_after_relu(weights, signal):
    scaled = []
    for weight in weights:
        outputs = (signal @ weight.T).relu()
        scaled.append(weight / outputs.std())
        signal = outputs / outputs.std()
    return scaled


def lsuv_variance(weights, signal):
    scaled = []
    for weight in weights:
        scaled.append(weight / (signal @ weight.T).var())
        signal = (signal @ scaled[-1].T).relu()
    return scaled


def lsuv_without_relu(weights, signal):
    scaled = []
    for weight in weights:
        scaled.append(weight / (signal @ weight.T).std())
        signal = signal @ scaled[-1].T
    return scaled


def lsuv_by_unit(weights, signal):
    scaled = []
    for weight in weights:
        scaled.append(weight / (signal @ weight.T).std(0)[:, None])
        signal = (signal @ scaled[-1].T).relu()
    return scaled


def lsuv_root_mean_square(weights, signal):
    scaled = []
    for weight in weights:
        scaled.append(weight / (signal @ weight.T).square().mean().sqrt())
        signal = (signal @ scaled[-1].T).relu()
    return scaled


def lsuv_mean_of_stds(weights, signal, dim=0):
    scaled = []
    for weight in weights:
        scaled.append(weight / (signal @ weight.T).std(dim).mean())
        signal = (signal @ scaled[-1].T).relu()
    return scaled


def lsuv_multiplied(weights, signal):
    scaled = []
    for weight in weights:
        scaled.append(weight * (signal @ weight.T).std())
        signal = (signal @ scaled[-1].T).relu()
    return scaled


def loss_by_drawing(vocab, std):
    logits = std * torch.randn(20_000, vocab, generator=torch.Generator().manual_seed(0))
    return (logits.logsumexp(-1) - logits[:, 0]).mean()


DRAWS = np.random.default_rng(0)  # goes on from call to call, as a learner's own does


def loss_by_few_draws(vocab, std):
    logits = std * DRAWS.standard_normal((1000, vocab))
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[:, -1])


def loss_by_seeded_draws(vocab, std):
    logits = std * torch.randn(500, vocab, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.cross_entropy(logits, torch.arange(500) % vocab)


def loss_by_ten_draws(vocab, std):
    logits = std * torch.randn(10, vocab, generator=torch.Generator().manual_seed(0))
    return (logits.logsumexp(-1) - logits[:, 0]).mean()


def loss_by_integral(vocab, std):
    """E ln Σ exp(z) = ∫ (exp(-t) - E[exp(-t exp(z))]^V) / t dt, exactly."""
    z, share = np.polynomial.hermite_e.hermegauss(80)
    u = np.linspace(-30, 10, 2001)
    phi = np.exp(-np.exp(u)[:, None] * np.exp(std * z)) @ (share / share.sum())
    return np.trapezoid(np.exp(-np.exp(u)) - phi**vocab, u)


def loss_with(vocab, std, *, last):
    return math.log(vocab) + std**2 / 2 + last * math.expm1(std**2) / vocab


def units_by_sets(incoming, outgoing):
    found = []
    for unit in range(len(incoming)):
        same = [other for other in found if (incoming[other] == incoming[unit]).all()
                and (outgoing[:, other] == outgoing[:, unit]).all()]  # fmt: skip
        found += [] if same else [unit]
    return np.int64(len(found))


def units_less_pairs(incoming, outgoing):
    units = torch.cat([incoming, outgoing.T], 1)
    return len(units) - (units[:, None] == units).all(-1).triu(1).sum()


def std_by_doubling(fan_in, slope):
    kept = 0.5 + slope * slope / 2
    return torch.tensor(1 / (fan_in * kept)).sqrt()


RIGHT = {
    "he-std": [
        lambda fan_in, slope: math.sqrt(2 / ((1 + slope**2) * fan_in)),
        std_by_doubling,
        lambda n, s: (n * (0.5 + 0.5 * s**2)) ** -0.5,
        lambda n, s: np.float64(torch.nn.init.calculate_gain("leaky_relu", s)) / np.sqrt(n),
        lambda n, s: torch.sqrt(2 / torch.tensor([n + n * s * s])).double()[0],
    ],
    "lsuv": [
        lsuv_by_loop,
        lsuv_in_rounds,
        lsuv_in_place,
        lambda weights, signal: tuple(weight.double().numpy() for weight in lsuv_by_loop(weights, signal)),
        lambda weights, signal: [weight.tolist() for weight in lsuv_in_place(weights, signal)],
    ],
    "initial-loss": [
        lambda vocab, std: math.log(vocab) + std**2 / 2 - math.expm1(std**2) / (2 * vocab),
        loss_by_drawing,
        loss_by_few_draws,
        loss_by_seeded_draws,
        loss_by_integral,
        lambda vocab, std: math.log(vocab) + std**2 / 2 - math.log1p(math.expm1(std**2) / vocab) / 2,
    ],
    "different-units": [
        lambda incoming, outgoing: torch.cat([incoming, outgoing.T], 1).unique(dim=0).shape[0],
        units_by_loop,
        units_by_pairs,
        units_by_sets,
        lambda incoming, outgoing: torch.tensor(units_by_loop(incoming, outgoing), dtype=torch.float64),
    ],
}
WRONG = {
    "he-std": [
        (lambda fan_in, slope: 2 / ((1 + slope**2) * fan_in), "square root"),
        (lambda fan_in, slope: math.sqrt(1 / fan_in), "lets only half"),
        (lambda fan_in, slope: math.sqrt(2 / fan_in), "ignored the slope"),
        (lambda fan_in, slope: math.sqrt(2 / ((1 + slope) * fan_in)), "did not square the slope"),
        (lambda fan_in, slope: math.sqrt(2 / ((1 + slope) ** 2 * fan_in)), "squared 1 \\+ s as a whole"),
        (lambda fan_in, slope: math.sqrt(0.5 / fan_in), "doubled where you should halve"),
        (lambda fan_in, slope: math.sqrt(2 / (1 + slope**2)), "returned the gain"),
        (lambda fan_in, slope: math.sqrt(6 / ((1 + slope**2) * fan_in)), "the bound of a uniform start"),
        (lambda fan_in, slope: math.sqrt((1 + slope**2) / (2 * fan_in)), "doubled where you should halve"),
    ],
    "lsuv": [
        (lsuv_unscaled_before, "behind layers that are not yet scaled"),
        (lsuv_after_relu, "before it get standard deviation 1"),
        (lsuv_variance, "divide by the standard deviation"),
        (lsuv_without_relu, "left out the ReLU"),
        (lsuv_by_unit, "the whole layer by one number"),
        (lsuv_root_mean_square, "do not have mean 0"),
        (lsuv_mean_of_stds, "the standard deviations of the units"),
        (lambda *given: lsuv_mean_of_stds(*given, dim=1), "the standard deviations of the rows"),
        (lsuv_multiplied, "multiplied by the standard deviation"),
        (lambda weights, signal: [weight / weight.std(unbiased=False) for weight in weights], "the layer's outputs"),
        (lambda weights, signal: weights, "the weights of layer 1"),
        (lambda weights, signal: [weight.T for weight in lsuv_by_loop(weights, signal)], "transposed"),
        (lambda weights, signal: weights[0], "a list with the scaled weights"),
    ],
    "initial-loss": [
        (lambda vocab, std: math.log(vocab), "what the spread of the logits adds"),
        (lambda vocab, std: math.log2(vocab), "base 2"),
        (lambda vocab, std: math.log(vocab) + std**2, "half of it"),
        (lambda vocab, std: math.log(vocab) + std, "half of its square"),
        (lambda vocab, std: math.log(vocab) + std / 2, "half of the standard deviation"),
        (lambda vocab, std: math.log(vocab) + std**2 / 2, "left out the last term"),
        (lambda vocab, std: loss_with(vocab, std, last=0.5), "added the last term"),
        (lambda vocab, std: loss_with(vocab, std, last=-1.0), "left out the 2"),
        (lambda vocab, std: math.log(vocab) - std**2 / 2, "confidence without reason costs"),
        (loss_by_ten_draws, "draw more logits"),
        (lambda vocab, std: loss_by_few_draws(vocab, std**0.5), "which scatter by 0.0"),
    ],
    "different-units": [
        (lambda incoming, outgoing: len(incoming.unique(dim=0)), "those that go out must agree too"),
        (lambda incoming, outgoing: len(outgoing.T.unique(dim=0)), "those that come in must agree too"),
        (lambda incoming, outgoing: len(incoming), "counted all units"),
        (lambda incoming, outgoing: len(torch.cat([incoming, outgoing.T], 1).mul(1e3).round().unique(dim=0)),
         "differs by a millionth.*compare exactly"),
        (units_less_pairs, "took away each pair"),
        (lambda incoming, outgoing: len(torch.cat([incoming, outgoing.T], 1).unique_consecutive(dim=0)), "neighbours"),
        (lambda incoming, outgoing: len(incoming) - units_by_loop(incoming, outgoing), "count of twelve|the twins"),
        (lambda incoming, outgoing: len(set((incoming.sum(1) + outgoing.sum(0)).tolist())), "in another order"),
    ],
}  # fmt: skip
