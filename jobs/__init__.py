"""Commands: one file per job, run by Ray Data where the work is large."""
