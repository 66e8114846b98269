"""Points the notebooks' Colab badges at the repository that group.json names: `python docs/badges.py`.

"repository" in group.json is "OWNER/NAME" on GitHub. Without it a badge opens Colab's upload, and says so.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLAB = "https://colab.research.google.com"
LINE = re.compile(r"\[!\[Open in Colab\][^\n\"\\]*")


def badge(repository: str, name: str) -> str:
    """Return the badge of a notebook as a line of Markdown; raises ValueError for what is no OWNER/NAME."""
    if repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f'"repository" in group.json should read "OWNER/NAME", as on GitHub, unlike {repository!r}.')
    target = f"github/{repository}/blob/main/notebooks/{name}.ipynb" if repository else "#upload=true"
    text = "Upload this notebook there, and the bundle's zip in *Files*, on the left."
    if repository:
        text = f"Then run `!git clone https://github.com/{repository}` in a cell of its own, before the first one."
    return f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/{target}) {text}"


def write_badges(root: Path = ROOT) -> None:
    """Write the badge of every notebook anew; the rest of its file stays as it is."""
    repository = json.loads((root / "group.json").read_text(encoding="utf-8-sig")).get("repository", "")
    for path in sorted(root.glob("notebooks/*.ipynb")):
        text, line = path.read_text(encoding="utf-8"), badge(repository, path.stem)
        path.with_suffix(".part").write_text(LINE.sub(lambda _, line=line: line, text, count=1), encoding="utf-8")
        path.with_suffix(".part").replace(path)


if __name__ == "__main__":
    write_badges()
