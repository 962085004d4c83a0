"""The user's own networks: built by a function that is named, with weights from a file."""
