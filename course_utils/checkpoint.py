"""Checkpoints: weights as `safetensors`, and beside them a model card that says where they come from."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.dice import Dice
from course_utils.models import GPT, MLP, GPTConfig, count_parameters, settings

SHIPPED = Path(__file__).parent / "checkpoints"
KEY = "course_utils"  # the entry in a safetensors file's metadata that says what the weights belong to


class DamagedCheckpoint(ValueError):
    """A checkpoint file that cannot be trusted."""


def save(model: GPT | MLP, path: str | Path, *, card: dict[str, object]) -> Path:
    """Write the weights to ``path`` (.safetensors) and the model card to the .md beside it; returns the path.

    card: what a reader wants to know, e.g. data, steps, seed, held-out loss, floor, command. The shape and the
    checksum are added.  ValueError for a model that no longer has the shape it was built with, and for the bare name
    of a checkpoint that the course ships; FileExistsError where the .md is something else. Where it cannot be written
    (OSError), what was there stays.
    """
    from safetensors.torch import save as packed

    if _shipped(path):
        problem = f"{path} is a checkpoint that the course ships, and `load` would give that one"
        raise ValueError(f"{problem}: choose another name, or write the file's as {path}.safetensors")
    path = _file(path)
    about_it = path.with_suffix(".md")
    if about_it.exists() and not path.exists():
        raise FileExistsError(f"{about_it} is there, and is no model card: choose another name than {path.stem}")
    state = _state(model)
    changed = _differences(state, _state(_build(_shape(model))))
    if changed:
        problem = f"this {type(model).__name__} is not as it was built ({_some(changed)})"
        raise ValueError(f"{problem}: merge its adapters first, or build one of the shape it has now")
    about = {"shape": _shape(model), "sha256": _checksum(state)}
    rows = {**card, "parameters": sum(tensor.numel() for tensor in state.values()), "sha256": about["sha256"]}
    lines = [f"# {path.stem}", "", *(f"- {name}: {value}" for name, value in rows.items()), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    _put({path: packed(state, {KEY: json.dumps(about)}), about_it: "\n".join(lines).encode()})
    return path


def _put(contents: dict[Path, bytes]) -> None:
    """Write all files beside their places, then move them there: none is ever there by half."""
    beside = {path.resolve(): path.resolve().with_name(f".{path.name}.{os.getpid()}") for path in contents}
    try:
        for file, content in zip(beside.values(), contents.values(), strict=True):
            file.write_bytes(content)
        for path, file in beside.items():
            os.replace(file, path)
    finally:
        for file in beside.values():
            file.unlink(missing_ok=True)


def load(path: str | Path) -> GPT | MLP:
    """The model of a checkpoint, on the CPU. A bare name such as ``"story_gpt"``, without a folder or a suffix, is one
    that the course ships, where it ships one; all else is a file.

    FileNotFoundError where there is none; DamagedCheckpoint if the file is broken or its weights were altered.
    """
    from safetensors import SafetensorError, safe_open

    path = _find(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[KEY])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        model, checksum = _build(about["shape"]), about["sha256"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        problem = f"{path.name} is no checkpoint of this course, or damaged ({error})"
        raise DamagedCheckpoint(f"{problem}: {ADVICE}") from None
    if _checksum(state) != checksum:
        raise DamagedCheckpoint(f"{path.name} does not match its checksum: {ADVICE}")
    wrong = _differences(state, _state(model))
    if wrong:
        raise DamagedCheckpoint(f"{path.name} has other weights than its shape says ({_some(wrong)}): {ADVICE}")
    model.to(next(iter(state.values())).dtype)
    model.load_state_dict(state, strict=False)  # a tied head is stored once
    runtime.use_threads(count_parameters(model))
    return model


def card(path: str | Path) -> str:
    """The model card's text."""
    return _find(path).with_suffix(".md").read_text(encoding="utf-8")


def checksum(model: GPT | MLP) -> str:
    """What a card says of these weights under sha256."""
    return _checksum(_state(model))


ADVICE = "save it again, or restore the shipped one with `git checkout`"


def _file(path: str | Path) -> Path:
    """The path with its suffix; other dots belong to the name, as in ``lr0.01``."""
    path = Path(path).expanduser()
    return path if path.suffix == ".safetensors" else path.with_name(f"{path.name}.safetensors")


def _shipped(path: str | Path) -> Path | None:
    """The file of a checkpoint that the course ships, for its bare name."""
    file = SHIPPED / f"{path}.safetensors"
    return file if str(path) == Path(path).name and file.is_file() else None


def _find(path: str | Path) -> Path:
    file = _shipped(path) or _file(path)
    if not file.is_file():
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.safetensors")))
        raise FileNotFoundError(f"no checkpoint {file}: the course ships {shipped or 'none'}")
    return file


def _shape(model: nn.Module) -> dict:
    if isinstance(model, GPT):
        return {"GPT": asdict(model.config)}
    if isinstance(model, MLP):
        return {"MLP": {"sizes": model.sizes, **settings(model)}}
    raise TypeError(f"a {type(model).__name__} cannot be saved: expected a GPT or an MLP")


BUILDERS = {"GPT": lambda **fields: GPT(GPTConfig(**fields)), "MLP": MLP}


def _build(shape: dict) -> GPT | MLP:
    ((kind, options),) = shape.items()
    with Dice(0):  # PyTorch's own layers draw weights, which are then replaced
        return BUILDERS[kind](**options)


def _differences(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    """Names of the weights that only one of them has, or that differ in shape."""
    shapes, expected = ({name: tensor.shape for name, tensor in each.items()} for each in (state, wanted))
    return [name for name in expected | shapes if shapes.get(name) != expected.get(name)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The weights on the CPU; a matrix that two names share is kept under the first."""
    seen, state = set(), {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            state[name] = tensor.detach().to("cpu", copy=True).contiguous()
        seen.add(tensor.data_ptr())
    return state


def _checksum(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
