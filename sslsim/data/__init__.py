"""Images, pairs and augmented views, drawn from generators and independent of batch sizes."""

from typing import TYPE_CHECKING

from sslsim.core.lazy import lazily
from sslsim.data.datasets import DATA_SETS, Images, holds_pairs, load_images, load_pairs

if TYPE_CHECKING:
    from sslsim.data.pairs import PairStream, draw_pairs
    from sslsim.data.pixels import PixelStatistics, pixel_statistics
    from sslsim.data.single_view import draw_view
    from sslsim.data.views import Views, draw_views

__all__ = [
    "DATA_SETS",
    "Images",
    "PairStream",
    "PixelStatistics",
    "Views",
    "draw_pairs",
    "draw_view",
    "draw_views",
    "holds_pairs",
    "load_images",
    "load_pairs",
    "pixel_statistics",
]

__getattr__ = lazily(
    __name__,
    {
        "PairStream": "pairs",
        "PixelStatistics": "pixels",
        "Views": "views",
        "draw_pairs": "pairs",
        "draw_view": "single_view",
        "draw_views": "views",
        "pixel_statistics": "pixels",
    },
)
