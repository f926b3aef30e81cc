"""Tells what happened to an invitation, a record or an address, from what the topics hold.

`facts` makes a fact of each record, `index` keeps facts in SQLite and finds them by their ids, and `story` follows the
ids from fact to fact. Nothing here reads Kafka: the stage `index` and `connector explain` hand records in.
"""

from connector.explain.fact import Fact, Kind
from connector.explain.facts import Facts
from connector.explain.index import Index, NotThisIndex
from connector.explain.story import Story, tell
from connector.explain.wanted import Wanted, wanted

__all__ = ["Fact", "Facts", "Index", "Kind", "NotThisIndex", "Story", "Wanted", "tell", "wanted"]
