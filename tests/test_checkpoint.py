"""What is saved comes back, and what is damaged is refused."""

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


def test_only_the_courses_models_are_saved(tmp_path):
    with pytest.raises(TypeError, match="a Linear cannot be saved: expected a GPT or an MLP"):
        checkpoint.save(torch.nn.Linear(2, 2), tmp_path / "one", card={})
