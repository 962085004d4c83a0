"""What one encoder alone says of images: how atypical they are, and how far it memorises them."""
