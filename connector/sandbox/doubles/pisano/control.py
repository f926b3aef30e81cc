"""The control API of this double: what its Python interface can do, and what it remembers."""

from aiohttp import web

from connector.sandbox.doubles import control
from connector.sandbox.doubles.pisano.model import Campaign, Channel, Count, Customer, Flow, Question, Wait, Webhook
from connector.sandbox.doubles.pisano.state import State

_ABOUT = """Pisano's double. For example, let a customer answer after two seconds, and list the e-mails:
curl $URL/set_customer -d '{"address": "ada@example.com", "answers": {"nps_score": 9}, "after": 2}'
curl $URL/emails?address=ada@example.com
curl $URL/second_emails"""


def add_to(app: web.Application, state: State) -> None:
    def add_campaign(campaign: str, questions: list[Question | str], channel: Channel = "email") -> None:
        """Add a working campaign, with a flow of the same id. A plain key is a question of type string."""
        state.add_campaign(campaign, questions, channel)

    def set_campaign(name: str, campaign: Campaign) -> None:
        state.campaigns[name] = campaign

    def set_flow(name: str, flow: Flow) -> None:
        state.flows[name] = flow

    def set_customer(address: str, customer: Customer) -> None:
        """Set what a customer answers to every e-mail, `after` this many seconds."""
        state.customers[address.lower()] = customer

    def set_webhook(webhook: Webhook) -> None:
        """Set where Pisano posts answers, and their template."""
        state.webhook = webhook

    def send_webhook(body: str, times: Count = 1, after: Wait = 0.0) -> None:
        """Post exactly this body, JSON or not, to the webhook's address."""
        if state.webhook is None:
            raise ValueError("there is no webhook yet: call set_webhook first")
        state.webhooks.send(state.webhook, body, times=times, after=after)

    actions = [add_campaign, set_campaign, set_flow, set_customer, set_webhook, send_webhook]
    methods = ("configure", "advance", "fail", "revoke_tokens", "reset")
    memories: control.Functions = {
        "calls": lambda: state.calls,
        "violations": state.violations,
        "emails": state.emails,
        "texts": state.texts,
        "links": state.links,
        "second_emails": state.second_emails,
        "deliveries": lambda: state.deliveries,
        "settings": lambda: state.settings,
        "campaigns": lambda: state.campaigns,
        "flows": lambda: state.flows,
        "customers": lambda: state.customers,
        "webhook": lambda: state.webhook,
    }
    named = {action.__name__: action for action in actions} | {name: getattr(state, name) for name in methods}
    control.add_to(app, _ABOUT, named, memories)
