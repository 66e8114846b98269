"""Programs that the doctor is judged by: real bugs with their fix, and sound programs."""
