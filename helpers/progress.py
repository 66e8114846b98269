"""A progress bar with the time left that leaves one clean line, in a saved notebook as in a log file."""

import io
import multiprocessing
import sys

from tqdm.std import tqdm


class progress(tqdm):  # in lower case, as tqdm itself: it is called like a function
    """Show a bar, called as `progress(iterable)`, or as `progress(total=n, desc="")` with `update()` in a `with` block.

    In a notebook it is one output that is updated in place; on a terminal it is plain tqdm; elsewhere, as in a
    log file, only the last state is written. Workers show nothing. The other arguments are those of tqdm.
    """

    monitor_interval = 0  # no thread that redraws: what it displays would land in whichever cell runs by then

    def __init__(self, iterable=None, total=None, desc="", **options):
        self._handle = None  # of the notebook's output
        self._silent = False
        is_worker = multiprocessing.current_process().name != "MainProcess"
        options = {"miniters": 1, "disable": is_worker, **options}
        if _in_notebook():
            options |= {"file": io.StringIO(), "ascii": False, "ncols": 100, "mininterval": 0.5}  # shown by `display`
        else:
            self._silent = not (options.get("file") or sys.stderr).isatty()
        super().__init__(iterable, total=total, desc=desc, **options)

    def display(self, msg=None, pos=None):
        """Show the bar's present state; tqdm calls this at most every `mininterval` seconds."""
        if self._silent:
            return
        if not _in_notebook():
            super().display(msg, pos)
            return
        output = {"text/plain": str(self) if msg is None else msg}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(output, raw=True, display_id=True)
        else:
            self._handle.update(output, raw=True)

    def close(self):
        """Show the last state and end the bar."""
        self._silent = False
        super().close()


def _in_notebook() -> bool:
    """Tell whether this process is a Jupyter kernel; where nothing has imported IPython it is none."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")
