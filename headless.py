"""Settings of `jupyter nbconvert --config headless.py`: outputs without time stamps, one line for each progress bar."""

import os

c = get_config()  # noqa: F821 (nbconvert puts it there)
c.ExecutePreprocessor.record_timing = False
c.ExecutePreprocessor.timeout = None
c.Exporter.preprocessors = ["nbconvert.preprocessors.CoalesceStreamsPreprocessor"]
if os.environ.get("QUICK", "0") not in ("", "0"):  # it has no worker processes, which a kernel needs time to end
    c.ExecutePreprocessor.shutdown_kernel = "immediate"
