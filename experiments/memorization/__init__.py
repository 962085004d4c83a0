"""Who is memorised: encoders trained with and without images, compared."""
