"""What the modes of networks mean: ``sslsim modes``."""
