"""Pictures of run folders, each from what a command left there."""
