import pytest
import timm
import torch

import medmamba.models  # noqa: F401  (registers our names)
from medmamba.data.preprocessing import Preprocessing
from medmamba.tasks import Task
from medmamba.training.imbalance import TrainingLoss
from medmamba.training.module import Trainee, parameter_groups
from medmamba.training.order import EpochBatches
from medmamba.training.recipe import load_recipe


def decayed_names(net: torch.nn.Module) -> set[str]:
    decayed, plain = parameter_groups(net, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    ids = {id(parameter) for parameter in decayed["params"]}
    total = len(decayed["params"]) + len(plain["params"])
    assert total == sum(1 for _ in net.parameters())
    return {name for name, parameter in net.named_parameters() if id(parameter) in ids}


def test_norms_biases_and_what_the_model_exempts_have_no_weight_decay() -> None:
    names = decayed_names(timm.create_model("medmamba_nano", num_classes=2))
    assert names
    assert not [name for name in names if name.endswith((".bias", "A_log", ".D")) or "norm" in name]


def test_names_with_a_prefix_are_exempt_too() -> None:
    names = decayed_names(timm.create_model("test_vit", num_classes=2))
    assert "blocks.0.attn.qkv.weight" in names
    assert not names & {"pos_embed", "cls_token"}


def test_logits_are_gathered_by_index_and_each_exactly_once() -> None:
    net = timm.create_model("test_resnet", num_classes=2)
    module = Trainee(
        net,
        recipe=load_recipe("quick"),
        training_loss=TrainingLoss(Task.BINARY, "none", [12, 12], 24),
        preprocessing=Preprocessing(height=32, width=32),
        order=EpochBatches(24, 8, seed=0),
        seed=0,
    )
    module._trainer = type("Alone", (), {"world_size": 1})()  # all that gathering asks of a trainer
    logits = torch.arange(6.0, dtype=torch.float64).view(3, 2).numpy()
    module.answers = [(torch.tensor([2, 0]).numpy(), logits[[2, 0]]), (torch.tensor([1]).numpy(), logits[[1]])]
    assert torch.equal(module.gather_logits(3), torch.from_numpy(logits))
    module.answers.append((torch.tensor([1]).numpy(), logits[[1]]))
    with pytest.raises(RuntimeError, match="3 validation images, but answers for 4"):
        module.gather_logits(3)
