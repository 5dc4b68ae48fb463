"""The attribute journey: set attributes of stored logos, durably."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api.journeys.logo_attributes import LogoAttributes
from api.journeys.write_limit import WriteLimit
from embeddings.store.store import EmbeddingStore


@dataclass(frozen=True, slots=True)
class AttributeSetter:
    """Sets attributes of stored logos, within limits.

    Attributes:
        store: the logos.
        attributes: of these logos.
        limit: limits the requests that write at once.
    """

    store: EmbeddingStore
    attributes: LogoAttributes
    limit: WriteLimit

    def merge(self, changes: Mapping[int, Mapping[str, str | None]]) -> list[int]:
        """Set attributes of logos and remove those whose value is `None`, durably, in one transaction.

        Returns:
            The ids of logos that are not stored; their attributes are left out.

        Raises:
            AttributeValueError: an attribute cannot be stored; the message names the logo, and nothing was stored.
            StoreError: the attributes cannot be written.
            TooManyWritesError: as many requests as allowed are writing; try again.
        """
        with self.limit.turn():
            self.check(changes)
            return self.merge_in_turn(changes)

    def check(self, changes: Mapping[int, Mapping[str, str | None]]) -> None:
        """Raise AttributeValueError if an attribute cannot be stored; the message names the logo."""
        for logo_id, attributes in changes.items():
            self.attributes.limits.check(logo_id, attributes)

    def merge_in_turn(self, changes: Mapping[int, Mapping[str, str | None]]) -> list[int]:
        """Merge attributes that the caller has checked, within its turn of the limit; see `merge`."""
        unknown = set(self.store.missing([*changes]))
        stored = {logo_id: changes[logo_id] for logo_id in changes if logo_id not in unknown}
        if any(stored.values()):
            self.attributes.merge(stored)
            deleted = self.store.missing([*stored])  # meanwhile; their attributes must not outlive them
            self.attributes.drop(deleted)
            unknown.update(deleted)
        return [logo_id for logo_id in changes if logo_id in unknown]
