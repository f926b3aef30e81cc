"""Managed subscriptions, a beta of the Pub/Sub API: the org keeps the position of a client (salesforce §A3)."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.sandbox.doubles.salesforce import ids
from connector.sandbox.doubles.salesforce.event_log import ReplayIdCorruptedError
from connector.sandbox.doubles.salesforce.model import Managed
from connector.sandbox.doubles.salesforce.rest_calls import Answer, Ask, Table
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.subscription import RefusedError, invalid
from connector.sandbox.doubles.salesforce.values import Problem

_QUERY = re.compile(
    r"\s*select\s.*\sfrom\s+ManagedEventSubscription\s+where\s+(Id|DeveloperName)\s*=\s*'([^']*)'(?:\s+limit\s+\d+)?\s*",
    re.IGNORECASE,
)


class ManagedSubscriptions:
    """Finds managed subscriptions, for the Tooling API and for ManagedSubscribe, and keeps their positions."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, table: Table) -> None:
        table.add("GET", "/tooling/query", self._query)

    def _query(self, ask: Ask) -> Answer:
        """The Tooling API holds metadata; the double has only that of managed subscriptions."""
        found = _QUERY.fullmatch(ask.query.get("q", ""))
        if found is None:
            message = "the double's Tooling API only finds a ManagedEventSubscription by its Id or DeveloperName"
            raise Problem("MALFORMED_QUERY", message)
        name = "id" if found[1].lower() == "id" else "developer_name"
        key = ids.normal(found[2]) if name == "id" else found[2]
        rows = [
            {
                "attributes": {
                    "type": "ManagedEventSubscription",
                    "url": f"{ask.base}/tooling/sobjects/ManagedEventSubscription/{one.id}",
                },
                "Id": one.id,
                "DeveloperName": one.developer_name,
                "Metadata": {
                    "topicName": one.topic,
                    "state": one.state,
                    "defaultReplay": one.default_replay,
                    "errorRecoveryReplay": one.error_recovery_replay,
                },
            }
            for one in self._state.managed.values()
            if getattr(one, name) == key
        ]
        return Answer({"size": len(rows), "totalSize": len(rows), "done": True, "records": rows})

    def find(self, request: pb.ManagedFetchRequest) -> Managed:
        """The subscription that the first request names, by exactly one of id and developer name."""
        key, name = request.subscription_id, request.developer_name
        if request.HasField("commit_replay_id_request"):
            raise _refused("fetch.request.commit.request.restricted", "The first request can't hold a commit.")
        if bool(key) is bool(name):
            raise _refused("id.or.developer.name.empty", "Give a subscription ID or a developer name.")
        if key and not ids.normal(key):
            raise _refused("subscription.id.invalid", f"{key} is no subscription ID.")
        held = self._state.managed.values()
        found = next((one for one in held if one.id == ids.normal(key) or one.developer_name == name), None)
        if found is None:
            code = "subscription.id.not.found" if key else "developer.name.not.found"
            raise RefusedError("NOT_FOUND", f"managed.subscription.{code}", f"There is no subscription {key or name}.")
        if found.state == "STOP":
            raise _refused("config.stopped", f"The subscription {found.developer_name} is stopped.")
        return found

    def start(self, found: Managed, requested: int) -> pb.FetchRequest:
        """Where its stream begins: behind its last commit, or as its configuration says."""
        committed = self._state.committed.get(found.id, b"")
        preset = "CUSTOM" if committed else found.default_replay
        try:
            self._state.log.after(committed or self._state.log.mark())
        except ReplayIdCorruptedError:
            preset, committed = found.error_recovery_replay, b""
        return pb.FetchRequest(
            topic_name=found.topic,
            replay_preset=preset,
            replay_id=committed,
            num_requested=requested,
        )

    def commit(self, found: Managed, asked: pb.CommitReplayRequest) -> pb.ManagedFetchResponse:
        """Keeps the position. A refused commit does not end the stream."""
        done = pb.CommitReplayResponse(
            commit_request_id=asked.commit_request_id,
            replay_id=asked.replay_id,
            process_time=int(self._state.clock() * 1000),
        )
        try:
            self._state.log.after(asked.replay_id)
            self._state.committed[found.id] = asked.replay_id
        except ReplayIdCorruptedError:
            done.error.CopyFrom(pb.Error(code="COMMIT", msg="The Replay ID is not valid."))
        return pb.ManagedFetchResponse(latest_replay_id=asked.replay_id, commit_response=done)


class ManagedStream:
    """A stream of ManagedSubscribe in the form of one of Subscribe. Commits are answered in between."""

    def __init__(
        self,
        requests: AsyncIterator[pb.ManagedFetchRequest],
        write: Callable[[pb.ManagedFetchResponse], Awaitable[None]],
        commit: Callable[[pb.CommitReplayRequest], pb.ManagedFetchResponse],
    ) -> None:
        self._requests, self._write, self._commit = requests, write, commit
        self._one_at_a_time = asyncio.Lock()  # events and commits are written by two tasks

    async def fetches(self) -> AsyncIterator[pb.FetchRequest]:
        async for request in self._requests:
            commits = request.HasField("commit_replay_id_request")
            if commits:
                async with self._one_at_a_time:
                    await self._write(self._commit(request.commit_replay_id_request))
            if request.num_requested or not commits:
                yield pb.FetchRequest(num_requested=request.num_requested, auth_refresh=request.auth_refresh)

    async def deliver(self, response: pb.FetchResponse) -> None:
        async with self._one_at_a_time:  # the two kinds of response have the same first fields
            await self._write(pb.ManagedFetchResponse.FromString(response.SerializeToString()))


def _refused(code: str, message: str) -> RefusedError:
    return invalid(f"managed.subscription.{code}", message)
