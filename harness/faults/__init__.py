"""What decisions that break or mend something do to a run.  Each fault is two functions: can it happen, and what."""
