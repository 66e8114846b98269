"""Settings of `jupyter nbconvert --config headless.py`: outputs without time stamps, one line for each progress bar."""

c = get_config()  # noqa: F821 (nbconvert puts it there)
c.ExecutePreprocessor.record_timing = False
c.ExecutePreprocessor.timeout = None
c.Exporter.preprocessors = ["nbconvert.preprocessors.CoalesceStreamsPreprocessor"]
