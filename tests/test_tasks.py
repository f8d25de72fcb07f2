"""The losses against formulas written out, and what their lowest point means."""

import numpy as np
import pytest
import torch

from medmamba.tasks import Task, loss, probabilities
from medmamba.training.imbalance import CHOICES, TrainingLoss

CHANGES = {
    "plain": {},
    "weights": {"weights": torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)},
    "offsets": {"offsets": torch.tensor([-2.0, 0.5, 0.0], dtype=torch.float64)},
    "focal": {"gamma": 2.0},
    "all": {
        "weights": torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64),
        "offsets": torch.tensor([-2.0, 0.5, 0.0], dtype=torch.float64),
        "gamma": 1.5,
    },
}


def example(task: Task, n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    shape = (n, 3) if task is Task.MULTILABEL else (n,)
    return logits, torch.randint(0, 2 if task is Task.MULTILABEL else 3, shape, generator=generator)


def by_hand(task, logits, targets, *, label_smoothing=0.0, weights=None, offsets=None, gamma=0.0):
    """The same in plain numpy, image by image."""
    weights = np.ones(3) if weights is None else weights.numpy()
    z = logits.numpy() + (0.0 if offsets is None else offsets.numpy())
    answers = []
    for row, target in zip(z, targets.numpy(), strict=True):
        if task is Task.MULTILABEL:
            p = 1 / (1 + np.exp(-row))
            right = np.where(target == 1, p, 1 - p)
            each = np.where(target == 1, weights, 1.0) * (1 - right) ** gamma * -np.log(right)
            answers.append(each.mean())
        else:
            p = np.exp(row) / np.exp(row).sum()
            share = np.full(3, label_smoothing / 3)
            share[target] += 1 - label_smoothing
            answers.append(weights[target] * (1 - p[target]) ** gamma * -(share * np.log(p)).sum())
    return np.array(answers)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.ORDINAL, Task.MULTILABEL])
def test_losses_are_their_formulas_in_float64(task, change, smoothing):
    logits, targets = example(task)
    made = loss(task, logits, targets, label_smoothing=smoothing, **CHANGES[change])
    assert made.dtype == torch.float64
    smoothing = 0.0 if task is Task.MULTILABEL else smoothing
    expected = by_hand(task, logits, targets, label_smoothing=smoothing, **CHANGES[change])
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.MULTILABEL])
def test_gradients_are_those_of_differences(task, change):
    logits, targets = example(task)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(task, z, targets, label_smoothing=0.1, **CHANGES[change]), logits)


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTILABEL])
def test_the_focal_loss_of_a_sure_answer_has_a_gradient(task):
    """Of a right one nothing, of a wrong one that of cross-entropy, in single precision."""
    logits = torch.tensor([[300.0, -300.0], [-300.0, 300.0]], requires_grad=True)
    targets = torch.tensor([[1, 0], [1, 0]]) if task is Task.MULTILABEL else torch.tensor([0, 0])
    losses = loss(task, logits, targets, gamma=2.0)
    losses.sum().backward()
    assert losses[0] == 0
    assert losses[1] >= 300
    assert logits.grad is not None
    assert torch.equal(logits.grad[0], torch.zeros(2))
    assert logits.grad[1].abs().min() >= 0.5


def test_half_precision_is_computed_in_single():
    logits, targets = example(Task.MULTICLASS)
    assert loss(Task.MULTICLASS, logits.half(), targets).dtype == torch.float32


def answer_to_nothing(task: Task, choice: str, counts: list[int]) -> np.ndarray:
    """Probabilities of a model that has nothing to go by and minimises a training loss: one logit a class."""
    n = sum(counts) if task is not Task.MULTILABEL else 100
    if task is Task.MULTILABEL:
        targets = torch.stack([torch.arange(n) < count for count in counts], dim=1).long()
    else:
        targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    logits = torch.zeros(1, len(counts), dtype=torch.float64, requires_grad=True)
    criterion = TrainingLoss(task, choice, counts, n).double()
    optimizer = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = criterion(logits.expand(n, -1), targets).mean()
        value.backward()
        return value

    optimizer.step(closure)
    return probabilities(task, logits.detach())[0].numpy()


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.MULTILABEL])
def test_what_each_choice_does_to_the_probabilities(task):
    """As the documentation says: with weights or adjusted logits as if classes were equally frequent; else not."""
    counts, middle = ([80, 15, 5], 1 / 3) if task is Task.MULTICLASS else ([60, 10, 5], 1 / 2)
    found = {choice: answer_to_nothing(task, choice, counts) for choice in CHOICES}
    shares = np.array(counts) / 100
    np.testing.assert_allclose(found["none"], shares, atol=1e-4)
    for choice in ("class-weights", "logit-adjustment"):
        np.testing.assert_allclose(found[choice], middle, atol=1e-4)
    between = (np.minimum(shares, middle) < found["focal"]) & (found["focal"] < np.maximum(shares, middle))
    assert between[np.abs(shares - middle).argmax()]
