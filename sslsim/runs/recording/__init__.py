"""Runs of loops of the user's: what records them, and tables and files of any runs."""
