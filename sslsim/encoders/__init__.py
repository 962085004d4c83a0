"""Encoders, from one linear map to ResNets and vision transformers, and their initialisation."""
