"""Runs the rivals of rivals.py on the doctor's cases. Kept in runs/kept.

python -m benchmarks.rival_cases fresh

What is not kept yet needs packages that requirements.txt lacks; without them this says so and stops before it begins.
"""

import json
import math
import sys

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.doctor_cases import RECHECK, case_of, config_of, keep_study
from benchmarks.draws import every_eighth, faulty_cases, healthy_cases
from benchmarks.programs import BATCH, Program, prepare, train
from benchmarks.rivals import PACKAGES, RIVALS
from helpers import session

STUDY, VERSION = "doctor-rivals", 1
LOOK_EVERY = 26  # passes: a run of two epochs has then 12 looks, where published rules have one an epoch


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


def verdicts(config: dict, seed: int) -> dict:
    """Return what each rival says of a case: the place of the right cause (0: none), and the number of its alarms.

    NaN for both where a rival cannot watch this run. Raises ImportError where its package is missing.
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


def not_kept(configs: list[dict]) -> list[dict]:
    """Return the configs of which no result is kept."""
    path = session.ROOT / "runs" / "kept" / STUDY / f"v{VERSION}.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    known = [record["config"] for record in records if "config" in record and not record["error"]]
    return [config for config in configs if config not in known]


def study(part: str) -> pd.DataFrame:
    """Return a row for each case of a part with what the rules say, and for every eighth what the packages say.

    What is not kept yet runs now; the packages take some ten seconds a run. Raises ImportError, before anything runs,
    where they are needed and one is missing; where all results are kept, nothing of theirs runs again then.
    """
    cases, few = faulty_cases(part) + healthy_cases(part), every_eighth(part)
    configs = [config_of(case, packages=True) for case in few]
    missing = [line for package in PACKAGES.values() if (line := package.missing())]
    if missing and (needed := not_kept(configs)):
        raise ImportError("\n".join([f"{len(needed)} trials need packages beyond requirements.txt:", *missing]))
    of_packages = keep_study(STUDY, verdicts, configs, 0 if missing else RECHECK, VERSION)
    table = keep_study(STUDY, verdicts, [config_of(case, packages=False) for case in cases], RECHECK, VERSION)
    names = [f"{name}: {what}" for name in PACKAGES for what in ("place", "alarms")]
    places = {case: place for place, case in enumerate(cases)}
    return table.join(of_packages[names].set_axis([places[case] for case in few]))


if __name__ == "__main__":
    print(study(sys.argv[1]))
