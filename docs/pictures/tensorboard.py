"""Takes pictures of TensorBoard's pages on notebook 02's runs: `python docs/pictures/tensorboard.py` after it was run.

Needs Chromium (Debian: `apt-get install chromium`). Each page is an address of a TensorBoard that runs for the while.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
RUNS = HERE.parents[1] / "runs" / "02"
SHOWN = ("sound", "fail_1", "fail_2", "fail_3", "fail_4", "fail_5")
SIZE, COLORS = (1100, 560), 64
PAGES = {  # name -> the part of the address behind /, with which tags and runs
    "scalars": "#scalars&_smoothingWeight=0&tagFilter=loss%7Cnorm%2F01&regexInput=(sound%7Cfail_4)%2Foriginal",
    "histograms": "#histograms&tagFilter=activation%2F0%5B12%5D&regexInput=(sound%7Cfail_2)%2Foriginal",
    "distributions": "#distributions&tagFilter=activation%2F0%5B12%5D&regexInput=(sound%7Cfail_2)%2Foriginal",
    "images": "#images&tagFilter=inputs&regexInput=(sound%7Cfail_4)%2Foriginal",
    "hparams": "#hparams",
}
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"


def start(folder: str) -> tuple[subprocess.Popen, str]:
    """Start TensorBoard on runs/02 in a folder; return it and its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "runs/02", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*command, "--load_fast=false"], cwd=folder, **quiet)
    address = f"http://127.0.0.1:{port}/"
    for _ in range(120):
        try:
            if urllib.request.urlopen(f"{address}data/runs").read().count(b"original") == len(SHOWN):
                return server, address
        except OSError:
            pass
        time.sleep(1)
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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for run in SHOWN:
            shutil.copytree(RUNS / run, Path(folder) / "runs" / "02" / run)
        server, address = start(folder)
        try:
            for name, page in PAGES.items():
                path = HERE / f"tensorboard-{name}.png"
                photograph(address + page, path)
                print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
