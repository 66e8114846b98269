"""The gallery holds the numbers that were recorded, asks no network for anything, and does in a browser what it says."""

import itertools
import json
import re
import shutil
import subprocess
from base64 import b64decode

import numpy as np
import pytest

from helpers import gallery
from helpers.gallery import write_gallery

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LEVELS = {
    "init": ("he", "uniform"),
    "inputs": ("raw", "standardized"),
    "regularization": ("none", "l2-0.001", "l2-0.01", "l2-0.1", "dropout-0.1", "dropout-0.3", "dropout-0.5"),
    "batch_norm": ("none", "before", "after"),
}


def record(number, levels, layers=5, steps=100):
    """Return a record with random numbers that look like those of a training; every fifth one diverges."""
    rng = np.random.default_rng(number)
    relus, t = layers - 1, np.arange(steps + 1)
    curve = 1.7 + 0.1 * (number % 7) + 0.8 * np.exp(-t[1:] / 20)
    losses = curve + rng.normal(0, 0.05, (2, steps))
    rms = 2.0 ** rng.normal(0, 2, (relus, 1)) * np.exp(rng.normal(0, 0.03, (relus, steps)).cumsum(1))
    levels_of = np.array([-2.3, -0.7, 0, 0.7, 2.3])
    series = {
        "losses": losses,
        "weights": levels_of * (0.04 + 0.0001 * t[:, None]) * rng.uniform(0.5, 2, (layers, 1, 1)),
        "net_values": levels_of * rms[..., None],
        "outputs": np.maximum(levels_of, 0) * rms[..., None],
        "net_rms": rms,
        "output_rms": 0.7 * rms,
        "dead": np.clip(rng.uniform(0, 0.5, (relus, 1)) * t[1:] / steps, 0, 1),
        "update_ratio": 1e-3 * np.exp(rng.normal(0, 0.3, (layers, steps))),
    }
    if levels[-1] != "none":
        series |= {"norm_input": rms, "norm_output": np.ones((relus, steps)) + rng.normal(0, 0.02, (relus, steps))}
    if number % 5 == 4:
        losses[:, steps // 2 :] = np.nan
        series["net_values"][:, steps // 2 :] = np.inf
    val_loss = losses[1, -1]
    results = {"accuracy": 0.45 - 0.1 * np.nan_to_num(val_loss, nan=3.5), "val_loss": val_loss, "train_loss": losses[0, -1]}
    return {"factors": dict(zip(LEVELS, levels, strict=True)), "results": results, "series": series}


def all_records(**sizes):
    """Return a record for each of the 84 combinations of levels."""
    return [record(number, levels, **sizes) for number, levels in enumerate(itertools.product(*LEVELS.values()))]
