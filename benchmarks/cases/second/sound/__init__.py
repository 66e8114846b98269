"""Programs of the second lot that have no fault: `run(fixed, watch, seed)`; `fixed` changes nothing."""
