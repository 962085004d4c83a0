"""What networks do under self-supervised learning: data, views, training, recording."""
