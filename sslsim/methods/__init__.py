"""Methods of self-supervised learning: an encoder, what is learned beside it, and a loss."""
