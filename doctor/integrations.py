"""Callbacks that watch a training by Lightning, or by the Trainer of Hugging Face, where those are installed.

    Trainer(..., callbacks=[LightningDoctor()])        # lightning.pytorch
    Trainer(..., callbacks=[TrainerDoctor()])          # transformers

The reports come on stderr when the training ends, and stand in the callback's `reports`.
"""

from pathlib import Path

from doctor.report import Report
from doctor.trained import TrainedModels

try:
    from lightning.pytorch import Callback
except ImportError:
    Callback = object
try:
    from transformers import TrainerCallback
except ImportError:
    TrainerCallback = object


class _Watching:
    """Watches each `every`-th step; `html`: a file for the report as a page, too."""

    def __init__(self, every: int = 16, html: str | Path | None = None):
        self.every, self.html, self.models = every, html and Path(html), None

    @property
    def reports(self) -> list[Report]:
        return self.models.reports if self.models else []

    def _begin(self, optimizers) -> None:
        self._end()  # a training that an error has ended
        self.models = TrainedModels(self.every, html=self.html, optimizers=optimizers)

    def _end(self) -> None:
        if self.models:
            self.models.end()


class LightningDoctor(_Watching, Callback):
    """A callback for the Trainer of Lightning."""

    def on_train_start(self, trainer, pl_module) -> None:
        self._begin(trainer.optimizers)

    def on_train_end(self, trainer, pl_module) -> None:
        self._end()

    def on_exception(self, trainer, pl_module, exception) -> None:
        self._end()


class TrainerDoctor(_Watching, TrainerCallback):
    """A callback for the Trainer of Hugging Face."""

    def on_train_begin(self, args, state, control, optimizer=None, **_) -> None:
        self._begin([optimizer])

    def on_train_end(self, args, state, control, **_) -> None:
        self._end()
