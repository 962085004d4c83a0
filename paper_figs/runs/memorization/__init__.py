"""Pictures of memorisation: scores of images, overlaps of rankings, and modes."""
