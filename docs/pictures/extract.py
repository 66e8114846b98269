"""Makes the pictures of README and docs anew: `python docs/pictures/extract.py` after the notebooks were run.

A cell says by its metadata `"picture": "NAME"` that its figure may become docs/pictures/NAME.png; it does if a page
shows it. The page of all movies is opened in headless Chromium, where that is installed.
"""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def marked_figures() -> Iterator[tuple[Path, bytes]]:
    """Yield the file and the content of each picture that a page shows."""
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    for notebook in sorted(ROOT.glob("notebooks/*.ipynb")):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if (name := cell["metadata"].get("picture")) and f"pictures/{name}.png)" in pages:
                shown = [o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o.get("data", {})]
                if len(shown) != 1:
                    raise ValueError(f"{notebook.name} shows {len(shown)} figures for the picture {name}: run it anew.")
                yield HERE / f"{name}.png", base64.b64decode(shown[0])


def photograph_page() -> Path | None:
    """Write a picture of gifs/index.html with three networks; None without Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        return None
    path, address = HERE / "gallery.png", (ROOT / "gifs" / "index.html").as_uri()
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1250"]
    pictured = [f"--screenshot={path}", "--virtual-time-budget=5000", f"{address}#chosen=21,63,65&t=60"]
    subprocess.run([chromium, *options, *pictured], check=True, capture_output=True, timeout=60)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    return path


if __name__ == "__main__":
    for path, content in marked_figures():
        path.write_bytes(content)
        print(path.relative_to(ROOT))
    if path := photograph_page():
        print(path.relative_to(ROOT))
