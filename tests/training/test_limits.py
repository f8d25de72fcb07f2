"""Memory: less of it by choice, the same gradients, and one sentence where it was too little."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import timm
import torch
from noise import SHORT, make_data
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import medmamba.models
from medmamba.bundle import load_bundle, read_weights
from medmamba.cli import main
from medmamba.errors import InputError
from medmamba.training import TrainConfig, TrainingError, fit
from medmamba.training.checkpoint import load_checkpoint
from medmamba.training.keeper import Keeper
from medmamba.training.limits import checkpoint_activations, is_out_of_memory, limits_explained, out_of_memory
from medmamba.training.module import Trainee
from medmamba.training.order import EpochBatches, batch_sizes

Fit = Callable[..., Path]


def gradients(short_fit: Fit, name: str, **options: object) -> dict[str, Tensor]:
    """Of the first step of a run on 8 images, with batch normalisation in evaluation mode."""
    seen: dict[str, Tensor] = {}
    step = Trainee.training_step

    def frozen(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        for module in self.net.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return step(self, batch, index)

    def watch(self: Trainee, optimizer: torch.optim.Optimizer) -> None:
        if not seen:
            seen.update({name: p.grad.clone() for name, p in self.net.named_parameters() if p.grad is not None})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainee, "training_step", frozen)
        patch.setattr(Trainee, "on_before_optimizer_step", watch)
        run = short_fit(name, make_data(8, 4), epochs=1, augment="none", **options)
    assert load_bundle(run).provenance["epochs"] == 1
    return seen


@pytest.mark.parametrize("model", ["test_resnet", "medmamba_nano"])
def test_f030_four_parts_of_two_have_the_gradients_of_eight(short_fit: Fit, model: str) -> None:
    options = {"model": model, "model_args": {"drop_path_rate": 0.0}}
    whole = gradients(short_fit, "whole", **options)
    parts = gradients(short_fit, "parts", accumulate=4, **options)
    assert whole.keys() == parts.keys()
    assert max(float(gradient.abs().max()) for gradient in whole.values()) > 1e-3
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-4, msg=name)


def test_parts_of_a_batch_are_its_images_and_none_is_too_small() -> None:
    whole = list(EpochBatches(35, 16, seed=0))
    parts = EpochBatches(35, 16, seed=0, parts=4)
    assert parts.sizes == batch_sizes(35, 16, 4) == [16, 19]  # a left-over of 3 joins the batch before
    assert len(parts) == len(list(parts)) == 8
    assert min(map(len, parts)) >= 2
    first = [key for part in list(parts)[:4] for key in part]
    assert sorted(first) == sorted(whole[0])


def test_accumulation_keeps_steps_rate_and_count_of_images(short_fit: Fit) -> None:
    rows = [
        (short_fit(f"{parts}", make_data(40, 8), accumulate=parts, batch_size=16) / "history.csv").read_text()
        for parts in (1, 2)
    ]
    columns = [[line.split(",")[:3] for line in text.splitlines()] for text in rows]  # epoch, rate, images
    assert columns[0] == columns[1]


def test_too_many_parts_are_refused(short_fit: Fit) -> None:
    with pytest.raises(InputError, match=r"1 processes and 8 parts in each; .* give 16 or more"):
        short_fit(accumulate=8)
    with pytest.raises(InputError, match="accumulate 0 is not possible"):
        short_fit(accumulate=0)


def saved_bytes(net: nn.Module, images: Tensor) -> int:
    """What the graph of one forward pass keeps for the backward pass, besides the parameters."""
    own = {parameter.data_ptr() for parameter in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = net(images).sum()
    loss.backward()
    return sum(kept.values())


def test_f030_checkpointing_keeps_at_most_three_quarters() -> None:
    images = torch.rand(8, 3, 64, 64)
    torch.manual_seed(0)
    net = timm.create_model("medmamba_nano", num_classes=2).train()
    plain = saved_bytes(net, images)
    checkpoint_activations(net, "medmamba_nano")
    assert saved_bytes(net, images) <= 0.75 * plain


@pytest.mark.gpu
def test_f030_peak_memory_on_the_gpu_with_checkpointing() -> None:
    peaks = []
    for checkpointing in (False, True):
        net = timm.create_model("medmamba_tiny", num_classes=2).cuda().train()
        if checkpointing:
            checkpoint_activations(net, "medmamba_tiny")
        images = torch.rand(8, 3, 224, 224, device="cuda")
        net(images).sum().backward()  # what is made once, as workspaces, is made here
        torch.cuda.reset_peak_memory_stats()
        net(images).sum().backward()
        peaks.append(torch.cuda.max_memory_allocated())
        del net, images
    assert peaks[1] <= 0.75 * peaks[0]


def test_checkpointing_leaves_the_gradients_what_they_are(short_fit: Fit) -> None:
    """Not so the running statistics of batch normalisation, which see each batch twice."""
    options = {"model": "medmamba_nano", "model_args": {"drop_path_rate": 0.0}}
    plain = gradients(short_fit, "plain", **options)
    checkpointed = gradients(short_fit, "checkpointed", checkpointing=True, **options)
    for name in plain:
        torch.testing.assert_close(checkpointed[name], plain[name], rtol=1e-5, atol=1e-6, msg=name)


def test_a_model_without_checkpointing_is_refused() -> None:
    with pytest.raises(InputError, match="flat has no gradient checkpointing; leave it out and raise accumulate"):
        checkpoint_activations(nn.Flatten(), "flat")


@contextmanager
def full_memory(at: int, error: Exception | None = None) -> Iterator[None]:
    """Inside the block, step `at` (from 1) of a run finds no memory."""
    step, count = Trainee.training_step, iter(range(1, 10_000))

    def broken(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        if next(count) == at:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainee, "training_step", broken)
        yield


def test_f030_out_of_memory_is_one_sentence_and_the_run_goes_on_with_less(short_fit: Fit, tmp_path: Path) -> None:
    with full_memory(at=5), pytest.raises(TrainingError) as stop:  # 3 steps an epoch: in the second
        short_fit()
    sentence = str(stop.value)
    for word in ("8 images of 32 x 32", "accumulate from 1 to 2", "checkpointing", "batch size", "image size"):
        assert word in sentence
    assert "keeps the weights of epoch 1" in sentence
    assert "\n" not in sentence
    run = tmp_path / "run"
    assert medmamba.load(run, device="cpu").classes == ("benign", "malignant")
    assert short_fit(resume=True, accumulate=2) == run
    assert load_bundle(run).provenance["ended"] == "finished"
    assert "accumulate was 1 and is 2 from here on" in (run / "log.txt").read_text()


def test_f030_out_of_memory_in_the_first_step_can_be_resumed_too(short_fit: Fit) -> None:
    with full_memory(at=1), pytest.raises(TrainingError, match=r"out of memory .* holds no weights"):
        short_fit()
    assert load_bundle(short_fit(resume=True, accumulate=4)).provenance["epochs"] == 2


def test_f030_the_command_ends_with_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "test_resnet", "--recipe", "quick", "--image-size", "32", "32", "--device", "cpu"]
    with full_memory(at=1):
        assert main(["train", "phantoms:60", "--out", str(tmp_path / "run"), *options]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("medmamba: out of memory with batches of 32 images of 32 x 32 pixels in 1 part: raise acc")


def test_only_the_end_of_memory_is_explained_as_such() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"), limits_explained(SHORT, 8):
        raise RuntimeError("shapes do not fit")


def test_what_was_done_already_is_not_advised() -> None:
    sentence = out_of_memory(TrainConfig(accumulate=4, checkpointing=True), 8)
    assert "raise accumulate" not in sentence  # 2 images in each of 4 parts: no more parts are possible
    assert "switch" not in sentence
    assert "lower the batch size from 8" in sentence


@pytest.mark.parametrize("first", [True, False])
def test_compiled_runs_keep_their_names_and_resume_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """With the backend `aot_eager`, which traces everything and generates nothing."""
    monkeypatch.setattr("medmamba.training.preparation.COMPILER", "aot_eager")
    options = {"config": SHORT, "model": "test_resnet", "recipe": "small", "epochs": 2, "batch_size": 8}
    save = Keeper.save

    def save_and_die(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if len(self.history) == 1:
            raise ConnectionError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "save", save_and_die)
        with pytest.raises(ConnectionError):
            fit(make_data(), out=tmp_path / "run", compile=first, **options)
    run = fit(make_data(), out=tmp_path / "run", resume=True, compile=not first, **options)
    plain = fit(make_data(), out=tmp_path / "plain", **options)
    weights = read_weights(run)
    assert weights.keys() == read_weights(plain).keys()
    assert not [name for name in load_checkpoint(run)["net"] if name.startswith("_orig_mod")]
    for name, tensor in read_weights(plain).items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-3, msg=name)
    assert "compiled by torch.compile (aot_eager)" in (run / "log.txt").read_text()
