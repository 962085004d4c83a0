"""Who is memorised, and what follows: ``memorization`` and its sequels."""
