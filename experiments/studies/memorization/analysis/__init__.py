"""What the scores of a study say: in both forms, of outliers, and against other studies."""
