"""Scripts that measure speed, memory and diagnoses, and their latest tables."""
