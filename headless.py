"""Settings of `jupyter nbconvert --config headless.py`: outputs without time stamps, one line for each progress bar.

At the end the terminal says which notebooks ran without the real data, or as a quick run: their numbers do not count.
"""

import atexit
import os
import sys

SIGNS = {"on the sample instead of the data sets": "!!! A SAMPLE of real images", "as a quick run": "QUICK=1: a short"}
without_count = {}  # how it ran -> names of notebooks


def note_caveats(notebook, resources):
    """Remember a notebook whose outputs say that it ran on a sample, or as a quick run; change nothing."""
    texts = "".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    ran = " and ".join(how for how, sign in SIGNS.items() if sign in texts)
    if ran:
        without_count.setdefault(ran, []).append(resources["metadata"]["name"])
    return notebook, resources


@atexit.register
def say_what_does_not_count():
    for ran, names in without_count.items():
        print(f"No number counts of {', '.join(names)}, run {ran}. See docs/run.md.", file=sys.stderr)


c = get_config()  # noqa: F821 (nbconvert puts it there)
c.ExecutePreprocessor.record_timing = False
c.ExecutePreprocessor.timeout = None
c.Exporter.preprocessors = ["nbconvert.preprocessors.CoalesceStreamsPreprocessor", note_caveats]
if os.environ.get("QUICK", "0") not in ("", "0"):  # it has no worker processes, which a kernel needs time to end
    c.ExecutePreprocessor.shutdown_kernel = "immediate"
