"""One program each that has no fault: `run(fixed, watch, seed)`; `fixed` changes nothing."""
