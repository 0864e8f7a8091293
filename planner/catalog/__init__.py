"""The catalogues: GPUs, offers and models as data rows, each with its source. Users' own rows win."""

from planner.catalog.gpus import Gpu
from planner.catalog.load import Catalog, load_catalog
from planner.catalog.offers import Offer
from planner.catalog.rates import Rates

__all__ = ["Catalog", "Gpu", "Offer", "Rates", "load_catalog"]
