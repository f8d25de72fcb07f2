import torch
from torch import nn

from medmamba.training.ema import averaged_copy, update


def test_the_average_follows_the_formula_and_counts_are_copied() -> None:
    model = nn.BatchNorm1d(2)
    average = averaged_copy(model)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.num_batches_tracked.fill_(7)
    update(average, model, 0.9, step=1000)
    torch.testing.assert_close(average.weight, torch.full((2,), 1.2))
    assert int(average.num_batches_tracked) == 7


def test_the_first_steps_move_faster_than_the_decay_says() -> None:
    model = nn.Linear(1, 1)
    average = averaged_copy(model)
    with torch.no_grad():
        start = model.weight.clone()
        model.weight.add_(1.0)
    update(average, model, 0.999, step=0)
    torch.testing.assert_close(average.weight, start + 0.9)


def test_the_average_is_no_part_of_the_optimizers_work() -> None:
    average = averaged_copy(nn.Linear(1, 1))
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
