"""What is saved comes back, and what is damaged is refused."""

import os
from pathlib import Path

import pytest
import torch

from course_utils import checkpoint
from course_utils.checkpoint import DamagedCheckpoint
from course_utils.models import GPT, MLP, GPTConfig

MODELS = [
    GPT(GPTConfig(vocab_size=20, context=8, width=8, heads=2)),
    GPT(GPTConfig(vocab_size=20, context=8, width=8, heads=2, tied=False)),
    MLP([4, 8, 8, 3], activation="tanh", residual=True, norm=True),
    MLP([4, 3], bias=False),
]


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_model_comes_back_exactly(model, tmp_path):
    path = checkpoint.save(model, tmp_path / "new folder" / "one", card={"data": "none", "floor": 0.5})
    again = checkpoint.load(path)
    assert type(again) is type(model)
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    if isinstance(again, GPT):
        assert again.config == model.config
        assert (again.head.weight is again.embed.weight) == model.config.tied
    card = checkpoint.card(path)
    assert "- data: none" in card and "sha256" in card and "parameters" in card


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_refused(damage, tmp_path):
    path = checkpoint.save(MODELS[0], tmp_path / "one", card={})
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    path.write_bytes({"cut": whole[:-100], "flipped": flipped, "empty": b"", "text": b"hello" * 100}[damage])
    with pytest.raises(DamagedCheckpoint, match="one.safetensors .*(damaged|checksum).*: save it again"):
        checkpoint.load(path)


def test_weights_of_another_program_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DamagedCheckpoint, match="no checkpoint of this course"):
        checkpoint.load(tmp_path / "other")


def test_a_missing_one_names_those_that_ship():
    with pytest.raises(FileNotFoundError, match="no checkpoint .*nosuch.safetensors: the course ships "):
        checkpoint.load("nosuch")


def test_the_end_of_a_name_is_part_of_it(tmp_path):
    first, second = MLP([2, 2]), MLP([2, 2])
    paths = [checkpoint.save(model, tmp_path / f"lr0.{k}", card={}) for k, model in enumerate((first, second))]
    assert [path.name for path in paths] == ["lr0.0.safetensors", "lr0.1.safetensors"]
    assert torch.equal(checkpoint.load(tmp_path / "lr0.0").layers[0].weight, first.layers[0].weight)


def test_a_bare_name_is_a_shipped_one_or_else_a_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = MLP([2, 2])
    checkpoint.save(model, "mine", card={})
    assert torch.equal(checkpoint.load("mine").layers[0].weight, model.layers[0].weight)
    checkpoint.save(model, "story_gpt.safetensors", card={})
    assert isinstance(checkpoint.load("story_gpt"), GPT)
    assert isinstance(checkpoint.load("story_gpt.safetensors"), MLP)
    (tmp_path / "story_teacher").mkdir()
    assert isinstance(checkpoint.load("story_teacher"), GPT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_number_formats_come_back_exactly(dtype, tmp_path):
    model = GPT(MODELS[0].config).to(dtype)
    again = checkpoint.load(checkpoint.save(model, tmp_path / "one", card={}))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("refused", ["write_bytes", "replace"])
def test_where_it_cannot_be_written_the_earlier_one_stays_and_nothing_else(refused, tmp_path, monkeypatch):
    checkpoint.save(MLP([2, 2]), tmp_path / "one", card={"made": "first"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(path, *content):
        if refused == "write_bytes" and ".safetensors" in path.name:
            return write(path, *content)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path if refused == "write_bytes" else os, refused, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(MLP([2, 2]), tmp_path / "one", card={"made": "second"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_bit_can_flip_unseen(tmp_path):
    path = checkpoint.save(MLP([2, 2], bias=False).double(), tmp_path / "one", card={})
    logits, whole = checkpoint.load(path)(torch.ones(1, 2).double()), path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
        with pytest.raises(DamagedCheckpoint):
            checkpoint.load(path)
    path.write_bytes(whole)
    assert torch.equal(checkpoint.load(path)(torch.ones(1, 2).double()), logits)


def test_a_model_with_another_shape_than_it_was_built_with_is_not_saved(tmp_path):
    model = MLP([4, 8, 3])
    model.layers[1] = torch.nn.Linear(8, 2)
    with pytest.raises(ValueError, match=r"this MLP is not as it was built \(layers.1.weight, layers.1.bias\)"):
        checkpoint.save(model, tmp_path / "one", card={})
    assert not list(tmp_path.iterdir())


def test_loading_and_saving_leave_the_global_generator_alone(tmp_path):
    before = torch.random.get_rng_state()
    checkpoint.load(checkpoint.save(MODELS[0], tmp_path / "one", card={}))
    assert torch.equal(before, torch.random.get_rng_state())


def test_only_the_courses_models_are_saved(tmp_path):
    with pytest.raises(TypeError, match="a Linear cannot be saved: expected a GPT or an MLP"):
        checkpoint.save(torch.nn.Linear(2, 2), tmp_path / "one", card={})
