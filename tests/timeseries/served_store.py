"""An embedded store behind its HTTP face, and the accounts that may use it."""

from dataclasses import dataclass

from tensorfusion.timeseries.access import Access, Account, Accounts, digest_of
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.store import Store

WRITER = "writer-secret"
READER = "reader-secret"
BOTH = "both-secret"
ACCOUNTS = Accounts(
    [
        Account("writer", digest_of(WRITER), frozenset({Access.WRITE})),
        Account("reader", digest_of(READER), frozenset({Access.READ})),
        Account("both", digest_of(BOTH), frozenset(Access)),
    ]
)


@dataclass(frozen=True)
class Served:
    url: str
    store: Store
    database: Database
