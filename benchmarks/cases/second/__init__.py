"""Cases written after the first ones: programs that no rule of the doctor has seen."""
