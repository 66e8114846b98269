"""Watches an unedited training script: python -m doctor [--steps N] [--every N] [--html FILE] script.py [its arguments]

The report comes on stderr when the script ends, also by Ctrl-C or an error, or after N steps of an optimizer, from when
on the script runs alone. Models that are trained apart get a report each.
"""

import argparse
import runpy
import sys
from pathlib import Path

from doctor.trained import TrainedModels


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m doctor", description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, help="report after that many steps")
    parser.add_argument("--every", type=int, default=1, help="watch every N-th step")
    parser.add_argument("--html", type=Path, help="save the report as a page, too")
    parser.add_argument("script", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    if not asked.script.is_file():
        parser.error(f"there is no script {asked.script}")
    models = TrainedModels(asked.every, asked.steps, asked.html)
    sys.argv = [str(asked.script), *asked.arguments]
    sys.path[0] = str(asked.script.resolve().parent)
    try:
        runpy.run_path(str(asked.script), run_name="__main__")
    finally:  # whatever ends the script goes on its way after the report
        models.end()


if __name__ == "__main__":
    main()
