"""What one encoder alone says of images: atypicality, influence, units, and modes of its views."""
