"""Takes pictures of TensorBoard's pages for notebooks: `python docs/pictures/tensorboard.py 02 05`, or without: both.

Notebook 02 must have been run; 05 shows its kept runs. Needs Chromium (Debian: `apt-get install chromium`). Each page
is an address of a TensorBoard that runs for the while.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIZE, COLORS = (1100, 560), 64
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"


@dataclass(frozen=True)
class Notebook:
    """What is shown of the runs below a folder."""

    folder: str
    names: dict[str, str]  # a folder in it -> the name it gets in the pictures
    pages: dict[str, str]  # PNG -> the part of the address behind /, with which tags and runs


def long_run(activation: str, init: str = "default", optimizer: str = "SGD") -> str:
    return f"{activation}-{init}-{optimizer}-0"


LOSS_AND_NORM = "tagFilter=loss%7Cnorm%2F01&regexInput=(sound%7Cfail_4)%2Foriginal"
ACTIVATIONS_OF_02 = "tagFilter=activation%2F0%5B12%5D&regexInput=(sound%7Cfail_2)%2Foriginal"
NOTEBOOKS = {
    "02": Notebook(
        "runs/02",
        {run: run for run in ("sound", "fail_1", "fail_2", "fail_3", "fail_4", "fail_5")},
        {
            "scalars": f"#scalars&_smoothingWeight=0&{LOSS_AND_NORM}",
            "histograms": f"#histograms&{ACTIVATIONS_OF_02}",
            "distributions": f"#distributions&{ACTIVATIONS_OF_02}",
            "images": "#images&tagFilter=inputs&regexInput=(sound%7Cfail_4)%2Foriginal",
            "hparams": "#hparams",
        },
    ),
    "05": Notebook(
        "runs/kept/05-blog",
        {long_run(name): name for name in ("sigmoid", "tanh", "ReLU", "softsign")}
        | {long_run("tanh", "xavier"): "tanh_Xavier", long_run("tanh", "xavier", "Adam"): "tanh_Xavier_Adam"},
        {
            "05-scalars": "#scalars&_smoothingWeight=0&tagFilter=validation",
            "05-layers": "#scalars&_smoothingWeight=0&tagFilter=std%2F01_act1%7Cgradient_norm%2F01"
            "&regexInput=%5E(sigmoid%7Ctanh)%24",
            "05-distributions": "#distributions&tagFilter=activation%2F0%5B14%5D&regexInput=%5E(sigmoid%7Ctanh)%24",
            "05-hparams": "#hparams",
        },
    ),
}


def last_steps(address: str) -> list[int]:
    """Return of each run that TensorBoard knows how far it has read it; a Logbook writes the tag `step`."""

    def fetch(path: str):
        return json.load(urllib.request.urlopen(f"{address}data/{path}"))

    tag = "plugin/scalars/scalars?tag=step&run="
    return [fetch(tag + urllib.parse.quote(run, safe=""))[-1][1] for run in fetch("runs")]


def start(folder: Path, runs: str) -> tuple[subprocess.Popen, str]:
    """Start TensorBoard on `runs` in a folder; return it and its address once it has read all of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", runs, "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*command, "--load_fast=false"], cwd=folder, **quiet)
    address, known = f"http://127.0.0.1:{port}/", []
    count = len({path.parent for path in folder.rglob("*tfevents.*")})
    for _ in range(40):
        time.sleep(3)
        with contextlib.suppress(OSError, LookupError):  # it does not answer yet, or has read nothing of a run
            before, known = known, last_steps(address)
            if before == known and len(known) == count:
                return server, address
    server.kill()
    raise TimeoutError("TensorBoard did not answer within two minutes.")


def photograph(address: str, path: Path) -> None:
    """Save a page as a PNG with a palette."""
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        options += [f"--window-size={SIZE[0]},{SIZE[1]}", "--virtual-time-budget=30000", f"--screenshot={path}"]
        subprocess.run([browser, *options, address], check=True, capture_output=True, timeout=180)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLORS, method=Image.Quantize.MAXCOVERAGE)
    small.save(path, optimize=True)


def main(chosen: list[str]) -> None:
    for notebook in (NOTEBOOKS[number] for number in chosen or NOTEBOOKS):
        with tempfile.TemporaryDirectory() as folder:
            for run, name in notebook.names.items():
                shutil.copytree(ROOT / notebook.folder / run, Path(folder) / notebook.folder / name)
            server, address = start(Path(folder), notebook.folder)
            try:
                for name, page in notebook.pages.items():
                    path = HERE / f"tensorboard-{name}.png"
                    photograph(address + page, path)
                    print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB")
            finally:
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
