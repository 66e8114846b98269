"""Runs the rivals of rivals.py on the doctor's cases. Kept in runs/kept.

python -m benchmarks.rival_cases "held out"      # needs the packages: pip install torchmortem gradsnitch ...
"""

import math
import sys

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.doctor_cases import case_of, config_of
from benchmarks.programs import BATCH, Case, Program, faulty_cases, healthy_cases, prepare, train
from benchmarks.rivals import PACKAGES, RIVALS
from helpers import sweep

LOOK_EVERY = 26  # passes: a run of two epochs has then 12 looks, where published rules have one an epoch
PACKAGES_SEE = 8  # every eighth case only: they take some ten seconds a run


class Rivals:
    """Lets rivals watch a loop that knows nothing of them: they are told of a turn when the next one begins."""

    def __init__(self, model: nn.Module, loss_fn, optimizer, program: Program, names: list[str]):
        given = prepare(program)  # the same data, which the loop does not hand on
        self.test, self.first = given.test, tuple(part[:BATCH] for part in given.training)
        looks = program.epochs * len(given.training[0]) // (BATCH * LOOK_EVERY)
        self.rivals = {name: RIVALS[name](model, loss_fn, optimizer, epochs=max(1, looks)) for name in names}
        self.model, self.plain_loss = model, loss_fn
        self.turns, self.loss, self.seen = 0, None, []  # seen: loss and accuracy of each turn since the last look

    def __enter__(self) -> "Rivals":
        for rival in self.rivals.values():
            rival.__enter__()
        self.hook = self.model.register_forward_pre_hook(self.turn)
        return self

    def __exit__(self, *exception) -> None:
        self.turn(self.model)
        self.hook.remove()
        for rival in self.rivals.values():
            rival.__exit__(*exception)

    def loss_fn(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = self.plain_loss(outputs, targets)
        self.loss = loss.detach()
        self.seen.append((self.loss.item(), accuracy(outputs, targets)))
        return loss

    def turn(self, module: nn.Module, *_) -> None:
        if self.loss is None:
            return
        loss, self.loss = self.loss, None
        for rival in self.rivals.values():
            rival.step(loss)
        self.turns += 1
        if self.turns % LOOK_EVERY == 0:
            self.look()

    @torch.no_grad()
    def look(self) -> None:
        train_loss, train_accuracy = torch.tensor(self.seen).mean(0).tolist()
        self.seen = []
        self.hook.remove()
        mode = self.model.training
        outputs = self.model.eval()(self.test[0])
        self.model.train(mode)
        self.hook = self.model.register_forward_pre_hook(self.turn)
        unseen = self.plain_loss(outputs, self.test[1]).item(), accuracy(outputs, self.test[1])
        for rival in self.rivals.values():
            with torch.enable_grad():
                rival.epoch_end(train_loss, train_accuracy, *unseen, *self.first)


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    guesses = outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0].round()
    return (guesses == targets).float().mean().item()


def told(config: dict, seed: int) -> dict:
    """Return what each rival says of a case: the place of the right cause (0: none), and the number of its alarms.

    NaN for both where a rival cannot watch this run.
    """
    case, names = case_of(config), [name for name in RIVALS if (name in PACKAGES) == config["packages"]]
    rivals = train(case.program, lambda *loop: Rivals(*loop, case.program, names)).doctor.rivals
    results = {}
    for name, rival in rivals.items():
        place = (rival.place_of(case.cause) or 0) if case.cause else 0
        watched = not rival.errors
        results |= {f"{name}: place": place if watched else math.nan}
        results |= {f"{name}: alarms": len(rival.alarms()) if watched else math.nan}
    return results


def results(cases: list[Case], keep: bool = False, packages: bool = True) -> pd.DataFrame:
    """Return a row for each case with what the rules say, and for every eighth what the packages say."""
    table = sweep.study("doctor-rivals", told, [config_of(case, packages=False) for case in cases], [0], keep)
    if not packages:
        return table
    chosen = range(0, len(cases), PACKAGES_SEE)
    configs = [config_of(cases[index], packages=True) for index in chosen]
    of_packages = sweep.study("doctor-rivals", told, configs, [0], keep).set_index(pd.Index(chosen))
    names = [f"{name}: {what}" for name in PACKAGES for what in ("place", "alarms")]
    return table.join(of_packages[names])


def study(part: str) -> pd.DataFrame:
    """Return the kept results of a part's cases; what is not kept yet runs now."""
    return results(faulty_cases(part) + healthy_cases(part), keep=True)


if __name__ == "__main__":
    if missing := [package.missing() for package in PACKAGES.values() if package.missing()]:
        sys.exit(missing[0])  # or it would be kept as one that cannot watch
    print(study(sys.argv[1]))
