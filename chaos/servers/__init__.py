"""The servers behind a run."""
