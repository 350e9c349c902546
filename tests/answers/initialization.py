"""Answers to the exercises of 04_initialization."""

import torch


def units_by_loop(incoming, outgoing):
    units = {tuple(row.tolist()) + tuple(column.tolist()) for row, column in zip(incoming, outgoing.T, strict=True)}
    return len(units)


def units_by_pairs(incoming, outgoing):
    units = torch.cat([incoming, outgoing.T], 1)
    same = (units[:, None] == units[None]).all(-1)
    return int((same.tril(-1).sum(1) == 0).sum())


RIGHT = {
    "different-units": [
        lambda incoming, outgoing: torch.cat([incoming, outgoing.T], 1).unique(dim=0).shape[0],
        units_by_loop,
        units_by_pairs,
    ],
}
WRONG = {
    "different-units": [
        (lambda incoming, outgoing: len(incoming.unique(dim=0)), "those that go out must agree too"),
        (lambda incoming, outgoing: len(outgoing.T.unique(dim=0)), "those that come in must agree too"),
        (lambda incoming, outgoing: len(incoming), "counted all units"),
        (lambda incoming, outgoing: len(torch.cat([incoming, outgoing.T], 1).mul(1e3).round().unique(dim=0)),
         "differs by a millionth"),
    ],
}  # fmt: skip
