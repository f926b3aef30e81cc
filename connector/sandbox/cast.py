"""The made-up customers of the demo: what happens to each, and the result that we expect."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Customer:
    """One customer with one case. `outcome` and the fields after it say how the demo must end for them.

    `score` is the answer, or None for a customer who does not answer; `times` is how often Pisano sends its webhook.
    """

    first_name: str
    last_name: str
    email: str | None
    outcome: str = "sent"
    reason: str | None = None
    score: int | None = None
    comment: str = ""
    times: int = 1
    status: str = "Closed"  # the status that the case gets
    opted_out: bool = False
    reopened: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reopened", self.score is not None and self.score < 3)


_ACTORS = [
    Customer("Ada", "Yılmaz", "ada@example.com", score=10, comment='She said "at once", and it was.'),
    Customer("Bora", "Kaya", "bora@example.com", score=7),
    Customer("Cem", "Demir", "cem@example.com", score=1, comment="Nobody called back.\nTwice."),
    Customer("Deniz", "Çelik", "deniz@example.com", outcome="suppressed", reason="opted_out", opted_out=True),
    Customer("Eda", "Şahin", "eda@company.invalid", outcome="suppressed", reason="invalid_address"),
    Customer("Filiz", "Öztürk", None, outcome="suppressed", reason="no_address"),
    Customer("Gül", "Aydın", "gul@example.com", outcome="rejected", reason="unknown question key", status="Escalated"),
    Customer("Hakan", "Arslan", "hakan@example.com", score=9, times=3),
    Customer("İpek", "Doğan", "ipek@example.com", score=2, comment='100% \\ "unhappy" {{ really }}'),
    Customer("Jale", "Kılıç", "jale@example.com"),
]
_NAMES = ["Kaan", "Lale", "Mert", "Nil", "Onur", "Pelin", "Rana", "Sarp", "Tuna", "Umut", "Vera", "Yaman", "Zeki"]
_NAMES += ["Aslı", "Burak", "Ceren", "Doruk", "Esra"]
# More cases close at the same moment than Pisano accepts calls in five seconds.
_BURST = [
    Customer(name, "Burst", f"customer{number}@example.org", score=8) for number, name in enumerate(_NAMES, start=1)
]
CUSTOMERS = (*_ACTORS, *_BURST)
