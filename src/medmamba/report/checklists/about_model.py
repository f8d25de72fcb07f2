"""Answers about the model: what it is, how it was trained, what it answers."""

from __future__ import annotations

from functools import wraps

from medmamba.report.checklists.items import Answer, Facts
from medmamba.report.checklists.record import Record, listed, plainly, short
from medmamba.tasks import Task


def of_each_network(answer: Answer) -> Answer:
    """The same question asked of each network of an ensemble, whose number then stands before every fact."""

    @wraps(answer)
    def asked(record: Record) -> Facts:
        if not record.networks:
            return answer(record)
        return [f"network {i}: {fact}" for i, each in enumerate(record.networks, start=1) for fact in answer(each)]

    return asked


def technology(record: Record) -> Facts:
    """What kind of model, and what it tells apart."""
    bundle = record.bundle
    return [f"deep learning: {bundle.task.value} image classification by the network {bundle.model}", *outcome(record)]


def outcome(record: Record) -> Facts:
    """The classes."""
    bundle = record.bundle
    facts = [f"{'labels' if bundle.task is Task.MULTILABEL else 'classes'}: {', '.join(plainly(bundle.classes))}"]
    if bundle.task is Task.BINARY:
        facts.append(f"positive class: {bundle.classes[bundle.positive]}")
    return facts


def predictors(record: Record) -> Facts:
    """The pixels of one image."""
    shape = record.bundle.preprocessing
    colour = "grey" if shape.channels == 1 else "RGB"
    return [f"the pixels of one image, {shape.height} x {shape.width}, {colour}; no other variable enters"]


def frames(record: Record) -> Facts:
    """Which frame of a file, and which part of its range of values."""
    reading = record.bundle.preprocessing.reading
    return [
        f"of a file with several frames: {reading.frame}",
        f"window of images with more than 8 bits: {reading.window}",
    ]


def preprocessing(record: Record) -> Facts:
    """From a file to what reaches the network."""
    shape = record.bundle.preprocessing
    return [
        *frames(record),
        f"to {'grey' if shape.channels == 1 else 'RGB'}",
        *([] if shape.detail is None else [f"larger pictures shrunk to {shape.detail} rows or columns"]),
        f"resized to {shape.height} x {shape.width} (height x width), bilinear with antialiasing, {shape.fit}",
        f"scaled to 0 to 1, minus {shape.mean:g}, divided by {shape.std:g}",
        "the same in training, evaluation and prediction",
    ]


def model(record: Record) -> Facts:
    """Network, its arguments, input, output, parameters and operations."""
    bundle, about = record.bundle, record.metrics.get("model") or {}
    shape = bundle.preprocessing
    facts = [_named(record), *(f"network {i}: {_named(each)}" for i, each in enumerate(record.networks, start=1))]
    facts.append(f"input {shape.channels} x {shape.height} x {shape.width}, {len(bundle.classes)} outputs")
    if about.get("parameters") is not None:
        facts.append(f"{about['parameters']:,} parameters")
    if about.get("flops_total") is not None:
        facts.append(f"{about['flops_total']:,} floating-point operations an image")
    return facts


def _named(record: Record) -> str:
    bundle = record.bundle
    kind = "" if bundle.members else "network "
    return f"{kind}{bundle.model}" + (f" with {listed(bundle.model_args)}" if bundle.model_args else "")


def software(record: Record) -> Facts:
    """Versions and hardware, of training and of evaluation."""
    facts = []
    trained = {f"training of network {i}": each.origin for i, each in enumerate(record.networks, start=1)}
    for what, made in {
        **(trained or {"training": record.origin}),
        "evaluation": record.metrics.get("made") or {},
    }.items():
        if made.get("versions"):
            facts.append(f"{what}: {listed(made['versions'])}")
        where = listed({key: made.get(key) for key in ("device", "precision")} | {"scan backend": made.get("backend")})
        facts += [f"{what} ran on {where}"] if where else []
    return facts


@of_each_network
def start(record: Record) -> Facts:
    """The weights that training began with, and the seed."""
    if "start" not in record.origin:
        return []
    return [f"training began with {record.origin['start']}", f"seed {record.origin.get('seed', 'unknown')}"]


@of_each_network
def training(record: Record) -> Facts:
    """Recipe, options, epochs and time. The command line may name folders of the machine: it stays in bundle.json."""
    origin = record.origin
    facts = [f"recipe: {listed(record.recipe)}"] if record.recipe else []
    options = origin.get("config") or {}
    known = {
        name: value for name, value in options.items() if name in ("accumulate", "deterministic", "devices", "nodes")
    }
    facts += [f"options: {listed(known)}"] if known else []
    if "epochs" in origin:
        ended, seconds = origin.get("ended", "unknown"), origin.get("seconds", "unknown")
        facts.append(f"{origin['epochs']} epochs in {seconds} seconds; how it ended: {ended}")
    return facts


@of_each_network
def selection(record: Record) -> Facts:
    """Which epoch was kept, and its figures on the validation images, which chose it."""
    found = record.validation
    if "best_epoch" not in record.origin or not found:
        return []
    return [
        "the epoch with the highest validation AUC, of equal ones that with the lowest validation loss",
        f"epoch {record.origin['best_epoch']} of {record.origin.get('epochs', 'unknown')}",
        f"validation AUC {short(found.get('auc'))}, loss {short(found.get('loss'))}, of {found.get('n', '-')} images",
        "these figures chose the epoch and are optimistic",
    ]


def ensemble(record: Record) -> Facts:
    """Whose answers are averaged, or that none are; and which weights are averages over the training."""
    bundle = record.bundle
    views = ", each for the picture and for its left-right mirror image" * bundle.mirror
    if len(bundle.members) > 1:
        facts = [f"the mean of the probabilities of {len(bundle.members)} networks{views}, all with the same weight"]
    else:
        facts = ["no ensemble: one network answers" + views.replace(", each", "")]
    return facts + _averaged(record)


@of_each_network
def _averaged(record: Record) -> Facts:
    average = record.recipe.get("ema")
    return [] if average is None else [f"its weights are an exponential moving average with decay {average}"]


def output(record: Record) -> Facts:
    """Probabilities, and how they become answers."""
    bundle = record.bundle
    by = "a sigmoid for each label" if bundle.task is Task.MULTILABEL else "a softmax over the classes"
    logits = "the logits of the mean" if bundle.members else "the logits"
    facts = [f"probabilities, by {by} of {logits} divided by {bundle.decisions.temperature:.4g}"]
    if isinstance(bundle.threshold, tuple):
        pairs = zip(bundle.classes, bundle.threshold, strict=True)
        facts.append("thresholds: " + ", ".join(f"{name} {value:.4g}" for name, value in pairs))
    elif bundle.task in (Task.BINARY, Task.MULTILABEL):
        facts.append(f"threshold {bundle.threshold:.4g}")
    else:
        facts.append("the answer is the most probable class")
    return facts + chosen(record)


def chosen(record: Record) -> Facts:
    """What `calibrate` chose, and on which images."""
    fitted, decisions = record.fitted, record.bundle.decisions
    if not fitted:
        return []
    facts = [
        f"chosen on {fitted.get('n', 'unknown')} images of the split {fitted.get('split', 'unknown')} of "
        f"{fitted.get('data', 'unknown')}, {fitted.get('date', 'date unknown')}"
    ]
    facts += [f"threshold for: {fitted['point']}"] if fitted.get("point") else []
    if decisions.conformal is not None:
        whole = "each class" if decisions.conformal.by_class else "all classes together"
        facts.append(
            f"prediction sets that miss the true class of {decisions.conformal.error:.4g} of images, for {whole}"
        )
    return facts + [str(note) for note in fitted.get("notes") or ()]


def poor_input(record: Record) -> Facts:
    """What the model does with pictures that it should not be asked about."""
    share = record.bundle.decisions.scope
    if share is None:
        return []
    return [
        f"pictures unlike the training images are told: farther from them than all but {share:.4g} of validation images"
    ]


def code(record: Record) -> Facts:
    """The package and what it left: weights and their description."""
    version = (record.origin.get("versions") or {}).get("medmamba")
    if version is None:
        return []
    return [f"trained with medmamba {version}", "weights.safetensors holds the weights, bundle.json how they are used"]
