"""One module a figure, drawn from run folders; nothing here trains."""
