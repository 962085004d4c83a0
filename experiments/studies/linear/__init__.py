"""Linear models and wide networks: step times predicted from data, and trained."""
