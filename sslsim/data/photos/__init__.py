"""Photographs in folders: found, decoded, and stored in a file that is larger than memory."""

from sslsim.data.photos.decoding import read_photos, resized
from sslsim.data.photos.listing import find_photos, split_folders
from sslsim.data.photos.stored import read_or_map

__all__ = ["find_photos", "read_or_map", "read_photos", "resized", "split_folders"]
