"""The training loop: data, model and sparsifier in, a sparse model with its history and cost out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.data import ImageSet, Splits, load
from sinewy.data.batches import batches, count, normalise, ordered
from sinewy.errors import InputError
from sinewy.masks import Masks
from sinewy.models import build
from sinewy.objectives.plain import make_objective
from sinewy.recipe import TrainOptions, parse
from sinewy.records import Cost, Epoch
from sinewy.seeds import derive
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.static import Dense
from sinewy.sparsify.timing import Length
from sinewy.train.checkpoint import load_checkpoint, random_state, restore_random_state, save_checkpoint
from sinewy.train.kept import KeptNetworks
from sinewy.train.ledger import Ledger
from sinewy.train.movement import MovementMeter
from sinewy.train.optimizer import learning_rate, make_optimizer
from sinewy.train.precision import Precision

Event = dict[str, Any]
CHECKPOINT = "checkpoint.pt"


class Interrupted(Exception):  # noqa: N818 - not an error: the checkpoint is saved, the same call goes on
    """Training was asked to stop; its checkpoint is written."""


@dataclass(frozen=True)
class TrainedModel:
    """What `fit` returns: the model (pruned weights are zero), its masks, its history per epoch, and what it cost."""

    model: nn.Module
    masks: Masks
    sparsifier: Sparsifier
    history: tuple[Epoch, ...]
    cost: Cost
    data: Splits

    @property
    def validation_accuracy(self) -> float | None:
        """The last epoch's, never the best; None without a validation part."""
        return self.history[-1].validation_accuracy


def fit(
    model: str | nn.Module,
    data: str | Splits,
    sparsifier: Sparsifier | None = None,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    root: str | None = None,
    folder: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    keep_epochs: Iterable[int] = (),
    checkpoint_seconds: float = 30.0,
    on_event: Callable[[Event], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **options: Any,
) -> TrainedModel:
    """Train `model` on `data`, kept sparse by `sparsifier` (dense if None), and return it with masks, history and cost.

    `model` is a module, trained in place, or a name for `sinewy.models.build`; `data` is Splits or a name for
    `sinewy.data.load` (`root`: where the files are). `options` are the fields of `sinewy.recipe.TrainOptions` (epochs,
    batch, lr, ...). With a `folder`, a checkpoint is kept there: the same call after a kill goes on from it, and ends
    in the same bits on a CPU. For a sparsifier that trains in rounds, epochs are those of one round, and the network at
    the end of each but the last is saved there in "levels", with `about` as its description; so are, in "epochs", the
    networks after the `keep_epochs`, which count from 1. Raises InputError for options that do not fit, and Interrupted
    once `should_stop()` is true and the checkpoint is written.
    """
    settings = parse(TrainOptions, options, "fit")
    splits = load(data, root=root) if isinstance(data, str) else data
    network = build(model, classes=len(splits.train.classes), seed=seed) if isinstance(model, str) else model
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    report = on_event or (lambda _: None)
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices):
        home = Path(folder) if folder is not None else None
        built = {"built": {"name": model, "classes": len(splits.train.classes)}} if isinstance(model, str) else {}
        kept = KeptNetworks(home, built | dict(about or {}), keep_epochs)
        trainer = _Trainer(network.to(place), splits, sparsifier or Dense(), settings, seed, place, kept)
        path = home / CHECKPOINT if home is not None else None
        if path is not None and path.exists():
            trainer.load_state_dict(load_checkpoint(path))
        trainer.run(path, checkpoint_seconds, report, should_stop or (lambda: False))
    return trainer.result()


def total_epochs(sparsifier: Sparsifier, epochs: int, epoch_steps: int) -> int:
    """Return how many epochs all rounds of an attached sparsifier have, one that begins in its middle included."""
    restart = sparsifier.position(epochs * epoch_steps) // epoch_steps
    return epochs + (sparsifier.rounds - 1) * (epochs - restart)


class _Trainer:
    """All that changes during training, as one thing that can be saved and loaded."""

    def __init__(
        self,
        model: nn.Module,
        data: Splits,
        sparsifier: Sparsifier,
        options: TrainOptions,
        seed: int,
        device: torch.device,
        kept: KeptNetworks,
    ) -> None:
        self.options, self.data, self.seed, self.device = options, data, seed, device
        self.channels_last = any(isinstance(module, nn.Conv2d) for module in model.modules())
        self.model = model.to(memory_format=torch.channels_last) if self.channels_last else model
        self.steps_per_epoch = count(data.train, options.batch)
        self.optimizer = make_optimizer(self.model, options)
        schedule = Length(options.epochs * self.steps_per_epoch, self.steps_per_epoch)
        self.steps = sparsifier.total_steps(schedule)
        self.sparsifier = sparsifier.attach(
            self.model, self.optimizer, self.steps, epoch_steps=self.steps_per_epoch, data=data.train
        )
        self.precision = Precision(options.precision, device)
        self.objective = make_objective(
            options.objective.name,
            data.train,
            label_smoothing=options.label_smoothing,
            seed=seed,
            **options.objective.options,
        )
        self.average = _moving_average(self.model, options.ema)
        self.ledger = Ledger(self.model, self._example(), sparsifier)
        self.movement = MovementMeter(sparsifier)
        self.elapsed = 0.0
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, correct, examples of the epoch so far
        self.moved_before = 0
        self.history: list[Epoch] = []
        self.kept = kept
        self.epochs = total_epochs(sparsifier, options.epochs, self.steps_per_epoch)
        kept.check(self.epochs)
        self.before_pruning: tuple[float | None] | None = None
        self.restarts_average = False
        sparsifier.on_round_end = self._end_round
        torch.manual_seed(derive("layers", seed))  # dropout and the like; the caller's state is restored by fork_rng

    def run(
        self, path: Path | None, every: float, report: Callable[[Event], None], should_stop: Callable[[], bool]
    ) -> None:
        """Train to the end from wherever this is, saving to `path` every so many seconds."""
        saved = time.monotonic()
        while True:
            if self._epoch_is_over():
                self._end_epoch()
                report({"event": "epoch", "of": self.epochs, **asdict(self.history[-1])})
            if self.step == self.steps:
                break
            self.model.train()
            started, before, first = time.monotonic(), self.elapsed, self.step
            for images, labels in self._rest_of_epoch():
                self._step(images, labels)
                now = time.monotonic()
                self.elapsed = before + now - started
                stop = should_stop()
                if path is not None and (stop or now - saved > every):
                    save_checkpoint(path, self.state_dict())
                    saved = time.monotonic()
                if stop:
                    raise Interrupted(f"stopped after step {self.step} of {self.steps}")
            if self.step == first:
                raise InputError(
                    f"every step after step {first} overflowed; lower lr ({self.options.lr:g}), or warm up."
                )
        self.sparsifier.detach()

    @property
    def step(self) -> int:
        """The optimizer steps taken; batches whose gradients overflowed are not among them, and are made up for."""
        return self.sparsifier.step

    def _epoch_is_over(self) -> bool:
        """Return whether the steps so far end an epoch that has no row in the history yet."""
        ended = self.step > 0 and (self.sparsifier.position(self.step - 1) + 1) % self.steps_per_epoch == 0
        return ended and bool(self.sums[2] > 0)

    def _rest_of_epoch(self) -> Any:
        epoch, start = divmod(self.sparsifier.position(self.step), self.steps_per_epoch)
        return batches(
            self.data.train,
            batch=self.options.batch,
            seed=self.seed,
            epoch=epoch,
            start=start,
            augment=self.options.augment,
            corruptions=self.options.corruptions,
            device=self.device,
            channels_last=self.channels_last,
        )

    def _step(self, images: Tensor, labels: Tensor) -> None:
        rate = learning_rate(self.options, self.sparsifier.position(self.step), self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        with self.precision.autocast():
            loss, logits = self.objective(self.model, images, labels, self.step)
        self._backward_and_step(loss)
        if self.restarts_average:
            self.average, self.restarts_average = _moving_average(self.model, self.options.ema), False
        elif self.average is not None:
            self.average.update_parameters(self.model)
        self.ledger.count(len(labels))
        correct = (logits.detach().argmax(1) == labels).sum()
        self.sums += torch.stack(
            [loss.detach() * len(labels), correct, torch.tensor(float(len(labels)), device=self.device)]
        )

    def _backward_and_step(self, loss: Tensor) -> None:
        scaler, clip = self.precision.scaler, self.options.clip
        torch.autograd.backward(scaler.scale(loss) if scaler else loss)
        if clip is not None:
            if scaler:
                scaler.unscale_(self.optimizer)
            self.sparsifier.mask_gradients_()
            nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        if scaler:
            scaler.step(self.optimizer)
            scaler.update()
        else:
            self.optimizer.step()

    def _end_epoch(self) -> None:
        loss, correct, examples = self.sums.tolist()
        if loss != loss or loss in (float("inf"), float("-inf")):
            epoch, rate = len(self.history), self.options.lr
            raise InputError(f"the training loss became {loss} in epoch {epoch}; lower lr ({rate:g}), or warm up.")
        if self.before_pruning is None:
            self.before_pruning = self._measure_and_keep()
        (accuracy,), self.before_pruning = self.before_pruning, None
        self.history.append(
            Epoch(
                epoch=len(self.history),
                loss=loss / examples,
                train_accuracy=correct / examples,
                validation_accuracy=accuracy,
                learning_rate=float(self.optimizer.param_groups[0]["lr"]),
                sparsity=self.sparsifier.sparsity,
                moved=self.sparsifier.moved - self.moved_before,
                seconds=self.elapsed,
                movement=self.movement.measure(),
            )
        )
        self.moved_before = self.sparsifier.moved
        self.sums.zero_()
        self.elapsed = 0.0

    def _end_round(self, number: int) -> None:
        """Measure and save the network as a round has trained it, before it is pruned or rewound for the next."""
        if self.average is not None:
            self.average.update_parameters(self.model)
            self.restarts_average = True
        self.before_pruning = self._measure_and_keep()
        (accuracy,) = self.before_pruning
        self.kept.save_round(number, self._final_model(), self.sparsifier.masks, accuracy)

    def _measure_and_keep(self) -> tuple[float | None]:
        """Return the accuracy on validation data at the end of an epoch, and save the network if it is to be kept."""
        accuracy = self._accuracy(self.data.validation)
        self.kept.save_epoch(len(self.history) + 1, self._final_model(), self.sparsifier.masks, accuracy)
        return (accuracy,)

    @torch.no_grad()
    def _accuracy(self, part: ImageSet | None) -> float | None:
        if part is None:
            return None
        network = self._final_model().eval()
        correct = sum(
            int((network(images).argmax(1) == labels).sum())
            for images, labels in ordered(part, batch=256, device=self.device, channels_last=self.channels_last)
        )
        self.model.train()
        return correct / len(part)

    def _final_model(self) -> nn.Module:
        if self.average is None:
            return self.model
        self.sparsifier.apply_(self.average)  # an average over moving masks is not sparse until this is done
        return self.average.module

    def _example(self) -> Tensor:
        image = torch.from_numpy(self.data.train.images[:1]).to(self.device)
        return normalise(image, self.data.train.mean, self.data.train.std)

    def result(self) -> TrainedModel:
        """Return the finished model, in evaluation mode."""
        model = self._final_model().eval()
        cost = self.ledger.cost(model, self._example())
        return TrainedModel(model, self.sparsifier.masks, self.sparsifier, tuple(self.history), cost, self.data)

    def state_dict(self) -> dict[str, Any]:
        """Return everything the rest of training depends on."""
        return {
            "options": self.options.model_dump(mode="json"),
            "data": _identity(self.data.train),
            "seed": self.seed,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sparsifier": self.sparsifier.state_dict(),
            "precision": self.precision.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "ledger": self.ledger.state_dict(),
            "movement": self.movement.state_dict(),
            "random": random_state(),
            "elapsed": self.elapsed,
            "moved": self.moved_before,
            "before_pruning": self.before_pruning,
            "sums": self.sums,
            "history": [asdict(row) for row in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; raises InputError if it is of other options, data or seed."""
        own = {"options": self.options.model_dump(mode="json"), "data": _identity(self.data.train), "seed": self.seed}
        for name, value in own.items():
            if state[name] != value:
                raise InputError(
                    f"the checkpoint was made with other {name}; use another folder, or the same {name} as before."
                )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.sparsifier.load_state_dict(state["sparsifier"])
        self.precision.load_state_dict(state["precision"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.ledger.load_state_dict(state["ledger"])
        self.movement.load_state_dict(state["movement"])
        self.sums.copy_(state["sums"])
        self.elapsed, self.moved_before = state["elapsed"], state["moved"]
        self.before_pruning = state["before_pruning"]
        self.history = [Epoch.from_dict(row) for row in state["history"]]
        restore_random_state(state["random"])


def _identity(data: ImageSet) -> list[Any]:
    """Return what the images and their normalisation are recognised by."""
    return [data.hash, *data.mean, *data.std]


def _moving_average(model: nn.Module, decay: float | None) -> torch.optim.swa_utils.AveragedModel | None:
    if decay is None:
        return None
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average, use_buffers=True)
