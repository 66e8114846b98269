"""Copies the README's pictures out of the saved notebooks: `python docs/pictures/extract.py` after they were run.

A cell says by its metadata `"picture": "NAME"` that its figure becomes docs/pictures/NAME.png.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def marked_figures() -> Iterator[tuple[Path, bytes]]:
    """Yield the file and the content of each picture."""
    for notebook in sorted(ROOT.glob("notebooks/*.ipynb")):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if name := cell["metadata"].get("picture"):
                shown = [o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o.get("data", {})]
                if len(shown) != 1:
                    raise ValueError(f"{notebook.name} shows {len(shown)} figures for the picture {name}: run it anew.")
                yield HERE / f"{name}.png", base64.b64decode(shown[0])


if __name__ == "__main__":
    for path, content in marked_figures():
        path.write_bytes(content)
        print(path.relative_to(ROOT))
