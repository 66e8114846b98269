"""The cases that the doctor is judged on: faults and oddities in settings drawn by the rule of doctor_rule.md.

A draw depends on the name of its fault or oddity alone: a cause, a variant or an oddity that is added, wherever it
stands, leaves all other cases as they are.
"""

import hashlib
import itertools
import random
from dataclasses import dataclass

from benchmarks.faults import FAULTS, ODDITIES, Variant
from benchmarks.programs import Program, sound_program

# Cause -> variant -> the number that the draw of its settings begins with. These were counted once; a variant that
# stands here no longer moves, and one that does not stand here gets a number by its name (`draw_number`).
FAULT_NUMBERS: dict[str, dict[str, int]] = {
    "gradients-not-zeroed": {"never": 0, "every 20 steps": 1, "once an epoch": 2},
    "no-optimizer-step": {"forgotten": 3, "after zero_grad": 4, "outside of the loop": 5},
    "parameters-not-in-optimizer": {"last layer only": 6, "first layer only": 7, "of a copy": 8},
    "layer-frozen": {"requires_grad": 9, "rate 0": 10, "detach": 11},
    "clip-too-tight": {"0.01": 12, "0.001": 13},
    "not-in-eval-mode": {"dropout 0.5": 14, "dropout 0.7": 15, "batch norm of 4": 16},
    "lr-too-high": {"x 30": 17, "x 100": 18, "x 1000": 19},
    "lr-too-low": {"/ 100": 20, "/ 1000": 21, "/ 10,000": 22},
    "over-regularized": {"decay 0.1": 23, "decay 1": 24, "penalty 0.1": 25},
    "softmax-before-loss": {"in the model": 26, "in the loss": 27},
    "softmax-wrong-dim": {"in the model": 28, "in the loss": 29},
    "wrong-loss": {"one output for the index": 30, "logits against the index": 31, "NLL of logits": 32},
    "loss-sign": {"in the loss": 33, "at backward": 34, "maximize": 35},
    "loss-summed": {"cross-entropy": 36, "one against all": 37},
    "symmetric-init": {"zeros": 38, "constant": 39, "last layers constant": 40},
    "init-too-large": {"x 10": 41, "x 30": 42, "x 100": 43},
    "init-too-small": {"x 0.1": 44, "x 0.03": 45, "x 0.01": 46},
    "dead-relu-at-init": {"biases -3": 47, "biases -10": 48, "negative weights": 49},
    "vanishing-gradient": {"3 layers of sigmoid": 50, "5 layers of sigmoid": 51, "8 layers of sigmoid": 52},
    "exploding-gradient": {"5 layers x 4": 53, "8 layers x 3": 54, "8 layers x 6": 55},
    "saturated-activations": {"biases 4": 56, "biases 6": 57, "steep": 58},
    "dead-relu": {"rate x 100": 59, "rate x 300": 60, "rate x 1000": 61},
    "no-nonlinearity": {"left out": 62, "left out, deep": 63},
    "dropout-too-high": {"0.8": 64, "0.9": 65, "0.95": 66},
    "inputs-not-scaled": {"0 to 255": 67, "divided twice": 68, "offset": 69},
    "noisy-inputs": {"4 std": 70, "8 std": 71, "salt and pepper": 72},
    "constant-inputs": {"zeros": 73, "first image": 74},
    "train-test-mismatch": {"0 to 255": 75, "inverted": 76, "not standardized": 77},
    "labels-shuffled": {"permuted": 78, "shifted": 79},
    "label-noise": {"60 %": 80, "80 %": 81, "45 % one too high": 82},
    "data-not-shuffled": {"sorted": 83, "sorted by 2,000": 84},
    "class-imbalance": {"95 % one class": 85, "99 % one class": 86, "long tail": 87},
    "nan": {"pixels": 88, "0 log 0": 89, "sqrt at 0": 90},
}
ODDITY_NUMBERS = {
    "sparse ReLU": 0,
    "high dropout": 1,
    "large rate with momentum": 2,
    "warm-up": 3,
    "gradient accumulation": 4,
    "log_softmax before cross-entropy": 5,
    "frozen backbone": 6,
    "deep tanh": 7,
    "balanced sampling": 8,
    "small data": 9,
    "batch norm": 10,
    "converged": 11,
}


@dataclass(frozen=True)
class Part:
    """The settings that cases are drawn from, and how many there are of each variant."""

    networks: tuple[str, ...]
    data: tuple[str, ...]
    seeds: range
    faulty: int  # cases of each variant of a fault; one more where its number is below `one_more_below`
    one_more_below: int
    healthy: int  # cases of each oddity

    def count(self, cause: str | None, number: int) -> int:
        return self.healthy if cause is None else self.faulty + (number < self.one_more_below)


OPTIMIZERS = ("sgd", "momentum", "adam")
DEVELOPED = ("MLP 100-100", "MLP 64-64-64", "CNN")
HELD_OUT = ("MLP 256", "MLP 5x80", "LeNet", "CNN batch norm")
TWO, THREE = ("MNIST", "FashionMNIST"), ("MNIST", "FashionMNIST", "CIFAR10")
PARTS = {  # 500, 1,000 and 273 faulty cases of the variants in FAULT_NUMBERS
    "development": Part(DEVELOPED, TWO, range(100), faulty=5, one_more_below=45, healthy=6),
    "held out": Part(HELD_OUT, THREE, range(1000, 1100), faulty=10, one_more_below=90, healthy=13),
    "fresh": Part(HELD_OUT, THREE, range(2000, 2100), faulty=3, one_more_below=0, healthy=6),  # for changed rules
}


@dataclass(frozen=True)
class Case:
    """A fault or an oddity in a setting, by plain values: `Case(**asdict(case))` is the same one."""

    cause: str | None  # None: healthy
    variant: str  # severity, or kind of oddity
    network: str
    data: str
    optimizer: str
    seed: int

    @property
    def sound(self) -> Program:
        """The program without the fault; of a healthy one, the ordinary program of its setting."""
        return self._variant.sound(sound_program(self.network, self.data, self.optimizer, self.seed))

    @property
    def program(self) -> Program:
        return self._variant.change(self.sound)

    @property
    def _variant(self) -> Variant:
        return next(v for v in (FAULTS[self.cause] if self.cause else ODDITIES) if v.name == self.variant)


def draw_number(cause: str | None, variant: str) -> int:
    """Return the number that belongs to the name of a variant of a fault, or with None of an oddity."""
    numbers = ODDITY_NUMBERS if cause is None else FAULT_NUMBERS.get(cause, {})
    name = f"{cause}: {variant}".encode()
    return numbers[variant] if variant in numbers else int.from_bytes(hashlib.sha256(name).digest()[:8], "big")


def draw(part: Part, cause: str | None, variant: Variant) -> list[Case]:
    """Return the cases of a variant: the first settings that it fits, in an order drawn by its number."""
    number = draw_number(cause, variant.name)
    settings = list(itertools.product(part.networks, part.data, OPTIMIZERS, part.seeds))
    settings = random.Random(number).sample(settings, len(settings))
    fitting = (setting for setting in settings if variant.fits(sound_program(*setting)))
    return [Case(cause, variant.name, *setting) for setting in itertools.islice(fitting, part.count(cause, number))]


def faulty_cases(part: str) -> list[Case]:
    """Return the faulty cases of "development", "held out" or "fresh"."""
    variants = ((cause, variant) for cause, variants in FAULTS.items() for variant in variants)
    return [case for cause, variant in variants for case in draw(PARTS[part], cause, variant)]


def healthy_cases(part: str) -> list[Case]:
    """Return the healthy cases of a part, as many of each oddity."""
    return [case for oddity in ODDITIES for case in draw(PARTS[part], None, oddity)]


def every_eighth(part: str) -> list[Case]:
    """Return an eighth of a part's cases. Which of a variant's cases they are depends on its number alone."""
    cases, most = faulty_cases(part) + healthy_cases(part), PARTS[part].faulty + 1
    chosen = []
    for (cause, variant), own in itertools.groupby(cases, lambda case: (case.cause, case.variant)):
        first = draw_number(cause, variant) * (PARTS[part].healthy if cause is None else most)
        chosen += [case for place, case in enumerate(own, first) if place % 8 == 0]
    return chosen
