"""Watches all models that a program trains, without a change of the program: hooks of all modules and optimizers."""

import sys
import weakref
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from doctor.calls import Hook
from doctor.diagnose import Doctor
from doctor.optimizers import unwrapped
from doctor.report import Report


class TrainedModels:
    """Finds the models that a program trains, watches each from its first training pass on, and reports at the end.

    `optimizers`: those that are there already. The reports come on stderr, after `steps` steps if that is sooner.
    """

    def __init__(self, every: int = 1, steps: int | None = None, html: Path | None = None, optimizers=()):
        self.every, self.steps, self.html, self.taken = every, steps, html, 0
        self.doctors: list[Doctor] = []  # one for each model
        self.reports: list[Report] = []  # theirs, at the end
        self.optimizers = [unwrapped(optimizer) for optimizer in optimizers]
        self.known: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # watched, or a part of what is
        self._hooks = [
            register_module_forward_pre_hook(Hook(self._before_forward)),
            register_optimizer_step_post_hook(Hook(self._after_step)),
        ]
        self._plain_init = torch.optim.Optimizer.__init__
        plain, optimizers = self._plain_init, self.optimizers

        def noted(optimizer, *args, **kwargs):
            optimizers.append(optimizer)
            plain(optimizer, *args, **kwargs)

        torch.optim.Optimizer.__init__ = noted

    def _before_forward(self, module: nn.Module, args) -> None:
        """Watch a module that an optimizer trains, unless it is a part of one that is watched."""
        if not torch.is_grad_enabled() or module in self.known:
            return
        own = {id(p) for p in module.parameters() if p.requires_grad}
        watched = {id(p) for doctor in self.doctors for p in doctor.watch.model.parameters()}
        if own & watched or next(module.parameters(), None) is None:
            self.known.add(module)
            return
        shared = [len(own & {id(p) for g in o.param_groups for p in g["params"]}) for o in self.optimizers]
        if any(shared):
            optimizer = self.optimizers[shared.index(max(shared))]
            self.doctors.append(Doctor(module, optimizer=optimizer, every=self.every))
            self.doctors[-1].watch._before_forward(module, args, {})  # the hook comes too late for this pass
            self.known.update(module.modules())

    def _after_step(self, optimizer, args, kwargs) -> None:
        self.taken += 1
        if self.taken == self.steps:
            self.end()

    def end(self) -> None:
        """Remove all hooks and report, the first time it is called."""
        if not self._hooks:
            return
        torch.optim.Optimizer.__init__ = self._plain_init
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for doctor in self.doctors:
            doctor.close()
        self._report()

    def _report(self) -> None:
        """Print a report for each model on stderr, and save them as pages."""
        if not self.doctors:
            print("doctor: no model was trained by an optimizer of torch.optim.", file=sys.stderr)
        for number, doctor in enumerate(self.doctors):
            report, name = doctor.report(), type(doctor.watch.model).__name__
            self.reports.append(report)
            print(f"\n==== doctor: {name}, {doctor.watch.count['steps']} steps\n{report!r}", file=sys.stderr)
            if self.html:
                report.save(self.html.with_stem(self.html.stem + (f"_{number + 1}" if number else "")))
