"""The two doubles of one made-up company, and the environment variables that point a configuration at them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from connector.errors import Fatal
from connector.sandbox.doubles.pisano import PisanoDouble, Question, Webhook
from connector.sandbox.doubles.salesforce import Certificate, SalesforceDouble, Settings

REST_PORT, PUBSUB_PORT, PISANO_PORT = 8601, 8602, 8603  # of `connector sandbox`; nothing common listens there

# Made up, and the same in every sandbox, so that a configuration keeps working.
_CLIENT_ID, _CLIENT_SECRET = "sandbox-client", "sandbox-client-secret"
_APP_ID, _APP_SECRET = "sandbox-app", "sandbox-app-secret"
_WEBHOOK_SECRET = "sandbox-webhook-secret"  # noqa: S105

CASE_KEYS = ("branch_id", "agent_name", "transaction_type", "sf_ref_id")


@dataclass(frozen=True)
class Sandbox:
    """Running doubles. The Pisano double posts answers once `expect_webhooks_at` has told it the address."""

    salesforce: SalesforceDouble
    pisano: PisanoDouble

    def environment(self) -> dict[str, str]:
        """The variables that `examples/*.yaml` need, except the broker's."""
        return {
            "SF_LOGIN_URL": _reachable(self.salesforce.login_url),
            "SF_CLIENT_ID": _CLIENT_ID,
            "SF_CLIENT_SECRET": _CLIENT_SECRET,
            "SF_PUBSUB_ENDPOINT": _reachable(self.salesforce.pubsub_endpoint),
            "SF_PUBSUB_TLS": str(self.salesforce.login_url.startswith("https:")).lower(),
            "SURVEY_DELAY": "0s",  # nobody at the sandbox waits two hours, or for the morning
            "SURVEY_HOURS": "00:00-24:00 UTC",
            "PISANO_BASE_URL": _reachable(self.pisano.base_url),
            "PISANO_APP_ID": _APP_ID,
            "PISANO_APP_SECRET": _APP_SECRET,
            "PISANO_WEBHOOK_SECRET": _WEBHOOK_SECRET,
        }

    def expect_webhooks_at(self, service: str) -> None:
        """`service` is where the connector listens, such as http://127.0.0.1:8080."""
        self.pisano.webhook = Webhook(
            url=f"{service}/pisano/main", headers={"X-Webhook-Secret": _WEBHOOK_SECRET}, pace=0.05
        )


@asynccontextmanager
async def sandbox(
    host: str = "127.0.0.1",
    *,
    rest_port: int = 0,
    pubsub_port: int = 0,
    pisano_port: int = 0,
    certificate: Certificate | None = None,
) -> AsyncIterator[Sandbox]:
    """Doubles on these ports (0 picks free ones) with the campaigns of the examples.

    With a `certificate`, Salesforce's double speaks TLS.

    Raises:
        Fatal: A double cannot listen on its port.
    """
    salesforce = SalesforceDouble(
        host,
        rest_port,
        pubsub_port,
        certificate=certificate,
        client_id=_CLIENT_ID,
        client_secret=_CLIENT_SECRET,
        settings=Settings(my_domain_audience=True),  # a client knows no other address of the sandbox
    )
    pisano = PisanoDouble(host, pisano_port, app_id=_APP_ID, app_secret=_APP_SECRET)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(salesforce)
            await stack.enter_async_context(pisano)
        except OSError as error:
            raise Fatal(
                f"the doubles cannot listen: {error}. Does another sandbox run, or is the host wrong?"
            ) from error
        pisano.configure(invitation_key="sf_ref_id", names_culprit=True)
        pisano.add_campaign("4711", [Question(key=key) for key in CASE_KEYS])
        pisano.add_campaign(
            "4712", [Question(key="case_id"), Question(key="agent_name")]
        )  # as if an administrator had renamed a question
        amount = Question(key="amount", type="float")
        pisano.add_campaign("5511", ["branch_id", "transaction_type", "sf_ref_id", amount], "sms")
        pisano.add_campaign("7711", ["sf_ref_id"], "link")
        yield Sandbox(salesforce, pisano)


def _reachable(address: str) -> str:
    """A double that listens on 0.0.0.0 is reached at 127.0.0.1, the only address that allows plain text."""
    return address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
