"""load_catalog: the shipped rows and the user's own, as values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.json import decode

from planner.catalog.folders import config_folder
from planner.catalog.gpus import Gpu, make_gpus
from planner.catalog.models import checkpoint_from, load_model, shipped_names
from planner.catalog.offers import Offer, make_offers
from planner.catalog.rates import Rates, make_rates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from planner.model.identity import Checkpoint

    Row = dict[str, Any]
    Rows = dict[str, dict[str, Row]]

HERE = Path(__file__).parent
# part of a catalogue file -> the field that names a row; a row of the same name replaces the one before it
PARTS = {"gpus": "name", "offers": "gpu", "rates": "name", "plans": "name", "models": "repo"}


class Catalog(Struct, frozen=True):
    """Hardware, what one provider charges for it, and models by repository."""

    gpus: Mapping[str, Gpu]
    offers: Mapping[str, Offer]  # by the provider's name, aliases included
    rates: Rates
    target: str = "modal"
    own_models: Mapping[str, Checkpoint] = field(default_factory=dict)  # the user's rows

    @property
    def prices_as_of(self) -> date | None:
        """The date of the oldest GPU price listed; None where nothing has a price."""
        return min(
            (offer.as_of for offer in self.offers.values() if offer.listed and offer.usd_per_second), default=None
        )

    def find_model(self, repo: str) -> Checkpoint | None:
        """What the catalogue knows of org/name, the user's own row first."""
        return self.own_models.get(repo) or load_model(repo)

    def model_names(self) -> tuple[str, ...]:
        """Every repository in the catalogue, sorted regardless of case."""
        return tuple(sorted({*self.own_models, *shipped_names()}, key=str.lower))


def load_catalog(file: Path | None = None, target: str = "modal") -> Catalog:
    """Shipped rows, then prices of the user's account, the user's catalog.yaml and ``file``; the last of a name wins.

    Raises SpecError where a user's file cannot be used.
    """
    rows = load_shipped(target)
    for path in (*user_files(target), *([file] if file else [])):
        from planner.catalog.user_rows import add_user_rows  # most plans have no rows of their own

        add_user_rows(rows, path, target)
    return Catalog(
        gpus=make_gpus(rows["gpus"].values()),
        offers=make_offers(rows["offers"].values()),
        rates=make_rates(rows["rates"].values()),
        target=target,
        own_models={repo: checkpoint_from(row) for repo, row in rows["models"].items()},
    )


def load_shipped(target: str) -> Rows:
    """The rows of the package by part and name."""
    data = _read("gpus") | _read(target)
    return {part: {row[name]: row for row in data.get(part, ())} for part, name in PARTS.items()}


def account_prices_file(target: str) -> Path:
    """Where `gpuplan prices --refresh` keeps an account's own prices."""
    return config_folder() / f"{target}-prices.yaml"


def user_files(target: str) -> tuple[Path, ...]:
    """The user's files that exist, the one that wins last."""
    files = (account_prices_file(target), config_folder() / "catalog.yaml")
    return tuple(path for path in files if path.is_file())


def _read(name: str) -> dict[str, list[Row]]:
    data: dict[str, list[Row]] = decode((HERE / f"{name}.json").read_bytes())
    return data
