"""The catalogues: GPUs, offers and models as data rows, each with its source. Users' own rows win."""

from planner.catalog.gpus import Gpu
from planner.catalog.offers import Offer

__all__ = ["Gpu", "Offer"]
