"""Does it help to do what the doctor's first finding says? Tried by hand on the real bugs that were held out.

    python -m benchmarks.advice_by_hand     # reads real_cases_held_out.csv; a minute or two

A program is changed as the text of its first finding says, right or wrong, and as little as that allows; a rate is
changed by the factor that the report's experiment names, and of several ways the experiment's one is taken. The changes
were all written down before the first of these programs ran. Writes advice_by_hand.md.
"""

import inspect
from importlib import import_module
from pathlib import Path

import pandas as pd
import torch

from benchmarks.cases.data import Plain
from benchmarks.intervals import clustered
from benchmarks.report import write_report

TWIN = "the change of the fixed program"
BACK = 0.8  # of what the bug takes

# What each first finding's advice amounts to, and the lines that do it: TWIN, nothing to change, or pairs to replace.
CHANGES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "adam_eps_one_tenth": ("rate x 100", [("lr=2e-3", "lr=0.2")]),
    "adam_with_rate_of_sgd": ("rate x 0.01", [("0.001 if fixed else 1.0", "0.01")]),
    "backbone_frozen_from_scratch": (TWIN, []),
    "batchnorm_momentum_zero": (TWIN, []),
    "batchnorm_on_single_images": (
        "train on, an epoch more",
        [("batches(len(x), 1, 1, seed)", "batches(len(x), 1, 2, seed)")],
    ),
    "box_offsets_through_relu": (TWIN, []),
    "clip_after_step": ("nothing: the pairs are right", []),
    "constants_for_unit_range": (
        "subtract the mean, divide by the std",
        [
            (
                "normalize(tx)\n",
                "normalize(tx)\n    mean, std = x.mean(), x.std()\n    x, tx = (x - mean) / std, (tx - mean) / std\n",
            )
        ],
    ),
    "dice_without_one_minus": (
        "take minus the loss",
        [("return 1 - dice if self.one_minus else dice", "return -dice")],
    ),
    "forecast_of_raw_sales": (
        "targets by their mean and std",
        [("(mean, std) if fixed else (0.0, 1.0)", "(y.mean(), y.std())")],
    ),
    "functional_dropout_in_eval": ("nothing: eval() is called", []),
    "log_probs_copied": (TWIN, []),
    "log_softmax_over_batch": (TWIN, []),
    "loss_from_numpy": (TWIN, []),
    "only_training_spectra_normalized": (TWIN, []),
    "optimizer_before_replacement": (TWIN, []),
    "rare_class_unweighted": ("rate x 10", [("lr=0.02", "lr=0.2")]),
    "relations_in_dict": (TWIN, []),
    "residual_left_out": (
        "batch norm",
        [
            (
                "self.fixed = fixed\n",
                "self.fixed = fixed\n        self.norm1, self.norm2 = (nn.BatchNorm2d(filters) for _ in range(2))\n",
            ),
            ("self.conv1(x)", "self.norm1(self.conv1(x))"),
            ("self.conv2(x)", "self.norm2(self.conv2(x))"),
        ],
    ),
    "schedule_ends_too_early": (
        "weight the loss by class",
        [
            (
                "tags.flatten())",
                "tags.flatten(), weight=tags.numel() / (3 * tags.flatten().bincount(minlength=3).clamp(1)))",
            )
        ],
    ),
    "step_outside_batch_loop": (TWIN, []),
    "summed_loss_of_large_batches": (TWIN, []),
}


def changed_score(name: str, replacements: list[tuple[str, str]]) -> float:
    """Return the score of the faulty program with lines replaced. Raises ValueError for a line that is not there."""
    source = inspect.getsource(import_module(f"benchmarks.cases.real.{name}"))
    for old, new in replacements:
        if old not in source:
            raise ValueError(f"{name} has no {old!r}: the case has changed, look at its advice again.")
        source = source.replace(old, new)
    namespace = {"__name__": name}
    exec(compile(source, name, "exec"), namespace)
    return namespace["run"](False, Plain)["score"]


def main() -> None:
    torch.set_num_threads(1)
    cases = pd.read_csv(Path(__file__).with_name("real_cases_held_out.csv"), keep_default_na=False).query(
        "kind == 'real'"
    )
    rows, back = [], []
    for _, case in cases.iterrows():
        first = case["with data: first"].split("|")[0]
        if first and case["case"] not in CHANGES:
            raise ValueError(f"The first finding of {case['case']} is new: write down what its advice amounts to.")
        what, replacements = CHANGES.get(case["case"], ("", []))
        faulty, fixed = float(case["score"]), float(case["fixed score"])
        score = fixed if what == TWIN else changed_score(case["case"], replacements) if replacements else faulty
        won = (score - faulty) / (fixed - faulty)
        back.append(won >= BACK)
        if first:
            numbers = (f"{number:.3g}" for number in (faulty, score, fixed))
            rows.append([case["case"], first, case["with data: verdict"], what, *numbers, f"{won:.0%}"])
    low, high = clustered(back, list(cases["accepted"]))
    right = [won for won, verdict in zip(back, cases["with data: verdict"], strict=True) if verdict == "right"]
    note = (
        f"Of {len(back)} real bugs that were held out, what the first finding advises wins back {BACK:.0%} or more of "
        f"what the bug takes in {sum(back)} ({low:.0%} to {high:.0%}); where its cause is right, in {sum(right)} of "
        f"{len(right)}. Bugs without a finding count as not won back. Each row has the scores of the faulty program, "
        "of the program changed as advised, and of the fixed one. Whoever chose the changes knew the fixes."
    )
    header = ["case", "first finding", "verdict", "what was changed", "faulty", "as advised", "fixed", "won back"]
    write_report("advice_by_hand", "Doing what the doctor says", header, rows, note)


if __name__ == "__main__":
    main()
