"""Runs the doctor on the cases of programs.py: what it says when, and what its fix wins back. Kept in runs/kept.

python -m benchmarks.doctor_cases development     # 500 faulty and 72 healthy runs
python -m benchmarks.doctor_cases "held out"      # 1,000 and 156; benchmarks/doctor_benchmark.py makes tables of it
"""

import math
import sys
import time
from dataclasses import asdict, replace

import pandas as pd
import torch
from torch import nn

from benchmarks.programs import FIXES, Case, Program, Trained, faulty_cases, healthy_cases, layers_of, prepare, train
from helpers import sweep
from doctor import CAUSES, Doctor, Report

EVERY = 4  # the first four passes are watched in any case
MOMENTS = {2: False, 100: True}  # passes after which the doctor is asked, beside the end; whether for experiments
PROBE = 4_000  # training samples that it gets


def config_of(case: Case, **more) -> dict:
    """Return a case as the config of a trial, where `seed` means another thing."""
    config = asdict(case)
    return {"program_seed": config.pop("seed"), **config, **more}


def case_of(config: dict) -> Case:
    fields = {key: config[key] for key in ("cause", "variant", "network", "data", "optimizer")}
    return Case(seed=config["program_seed"], **fields)


# ---- accuracies


def measured(case: Case, run: Trained) -> float:
    """Return the accuracy at the end, as this program measures it; with rare classes the mean over classes."""
    return run.balanced if case.cause == "class-imbalance" else run.accuracies[-1]


def accuracy(config: dict, seed: int) -> dict:
    """Run a case as it would be "sound", or with the fix of a cause, a rate changed as the doctor's experiment did."""
    case, cause = case_of(config), config["run"]
    program = case.sound if cause == "sound" else FIXES[cause](case.program)
    if config["rate"] != 1:
        program = replace(program, rate=config["rate"] * case.program.rate)
    return {"accuracy": measured(case, train(program))}


# ---- diagnoses


class Examined(Doctor):
    """A doctor that is asked in the course of the loop, too."""

    def __init__(self, model, loss_fn, optimizer, program: Program):
        self.passes, self.reports, self.took = 0, {}, {}
        given = prepare(program)  # the same data, which the loop does not hand on
        self.probe, self.test = tuple(part[:PROBE] for part in given.training), given.test
        self.hook = model.register_forward_pre_hook(self.count_pass)
        super().__init__(model, loss_fn, optimizer, EVERY)

    def count_pass(self, module: nn.Module, args) -> None:
        if module.training and torch.is_grad_enabled():
            if self.passes in MOMENTS:
                self.ask(f"at {self.passes}", MOMENTS[self.passes])
            self.passes += 1

    def ask(self, moment: str, with_data: bool) -> None:
        start = time.process_time()
        self.reports[moment] = self.report(self.probe, self.test) if with_data else self.report()
        self.took[moment] = time.process_time() - start

    def close(self) -> None:
        super().close()
        self.hook.remove()
        self.ask("watching only", with_data=False)
        self.ask("end", with_data=True)


def named(report: Report) -> list[int]:
    """Return the causes of the findings, by their numbers in CAUSES."""
    return [CAUSES.index(finding.cause) for finding in report.findings]


def at_fault(case: Case, model: nn.Sequential) -> set[str]:
    """Return the names of the layers that a fault sits in; empty where it is all of them, or none."""
    names = [name for name, module in model.named_children() if module in layers_of(model)]
    program = case.program
    if case.cause == "layer-frozen" or program.learns == "last layer":
        return set(names[:-1])
    if program.learns == "first layer":
        return set(names[1:])
    return {names[-2]} if program.init == "last constant" else set()


def diagnosis(config: dict, seed: int) -> dict:
    """Ask the doctor about a case: the causes that it names, most certain first, after some passes and at the end."""
    case = case_of(config)
    start = time.process_time()
    run = train(case.program, lambda *loop: Examined(*loop, case.program))
    took = time.process_time() - start
    doctor, layers = run.doctor, at_fault(case, run.model)
    first = doctor.reports["end"].findings[:1]
    located = [float(first[0].layer in layers)] if first and layers and first[0].cause == case.cause else []
    rate = first[0].change.rate if first and first[0].change else 1.0
    results = {"accuracy": measured(case, run), "layer": located, "rate": rate}
    results |= {moment: named(report) for moment, report in doctor.reports.items()}
    results |= {f"seconds {moment}": spent for moment, spent in doctor.took.items()}
    return results | {"took": took - sum(doctor.took.values())}


# ---- studies


def accuracies(cases: list[Case], runs: list[str], rates: list[float], keep: bool) -> list[float]:
    """Return the accuracy of each case with its run."""
    configs = [config_of(case, run=run, rate=rate) for case, run, rate in zip(cases, runs, rates, strict=True)]
    return sweep.study("doctor-accuracies", accuracy, configs, [0], keep=keep)["accuracy"].tolist()


def results(cases: list[Case], keep: bool = False) -> pd.DataFrame:
    """Return a row for each case: what the doctor says, and accuracies `sound`, `faulty` and `fixed`.

    The last is that with the fix of the first finding, NaN where there is none.
    """
    table = sweep.study("doctor", diagnosis, [config_of(case) for case in cases], [0], keep=keep)
    table = table.rename(columns={"accuracy": "faulty"}).assign(fixed=math.nan)
    table["sound"] = accuracies(cases, ["sound"] * len(cases), [1.0] * len(cases), keep)
    told = [index for index, causes in enumerate(table["end"]) if causes]
    fixes = [CAUSES[table["end"][index][0]] for index in told]
    table.loc[told, "fixed"] = accuracies([cases[index] for index in told], fixes, table["rate"][told].tolist(), keep)
    return table


def study(part: str) -> pd.DataFrame:
    """Return the kept results of a part's cases; what is not kept yet runs now."""
    return results(faulty_cases(part) + healthy_cases(part), keep=True)


if __name__ == "__main__":
    print(study(sys.argv[1]))
