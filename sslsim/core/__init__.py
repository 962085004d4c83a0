"""What every part stands on: files, locks, checkpoints, seeds, processes."""
