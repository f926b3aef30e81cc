"""The report of the benchmarks, made from figures as the scripts print them."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"

FIGURES: dict[str, Any] = {
    "name": "intake",
    "ours": {
        "series": [
            {"load": 100, "per_second": 900.0, "p99_ms": 4.0},
            {"load": 1_000, "per_second": 5_000.0, "p99_ms": 9.0},
            {"load": 10_000, "per_second": 7_500.0, "p99_ms": None},
            {"workers": 1, "per_second": 7_500.0},
            {"workers": 2, "per_second": 13_000.0},
        ]
    },
    "floor": {"series": [{"load": 100, "per_second": 950.0}, {"load": 10_000, "per_second": 9_000.0}]},
    "earlier": {},
    "ratios": {"times the speed of earlier": 3.25, "left out": None},
    "claims": [
        {"claim": "webhooks a second", "target": "≥ 5,000", "found": "7,500", "holds": True},
        {"claim": "p99 < 5 ms & lower", "target": "< 5 ms", "found": "9 ms", "holds": False},
    ],
}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import report  # noqa: PLC0415 - the benchmarks are scripts in a folder of their own

    return report


def texts(svg: str) -> set[str]:
    return {"".join(each.itertext()) for each in ElementTree.fromstring(svg).iter(SVG + "text")}  # noqa: S314 - ours


def script(folder: Path, code: str) -> Path:
    path = folder / "made_up.py"
    path.write_text(code, encoding="utf-8")
    return path


def write(report: Any, folder: Path, *ran: object) -> None:
    report.write(ran, report.machine(full=False, seconds=[1.0]), folder=folder)


def test_claims_ratios_and_reasons_are_on_the_page(report: Any, tmp_path: Path) -> None:
    missing = report.Ran("service", None, "", "cannot run: no Kafka broker answers")
    write(report, tmp_path, report.Ran("intake", FIGURES, "a table"), missing)
    page = (tmp_path / "REPORT.md").read_text(encoding="utf-8")
    assert "| intake | webhooks a second | ≥ 5,000 | 7,500 | yes |" in page
    assert "| intake | p99 < 5 ms & lower | < 5 ms | 9 ms | **no** |" in page
    assert "- times the speed of earlier: 3.25" in page
    assert "left out" not in page
    assert "```\na table\n```" in page
    assert "## service\n\nIt gave no figures: cannot run: no Kafka broker answers" in page


def test_each_figure_that_grows_has_a_plot_that_the_page_shows(report: Any, tmp_path: Path) -> None:
    write(report, tmp_path, report.Ran("intake", FIGURES, ""))
    page = (tmp_path / "REPORT.md").read_text(encoding="utf-8")
    plots = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "plots").iterdir()}
    assert sorted(plots) == ["intake-load-p99-ms.svg", "intake-load-per-second.svg", "intake-workers-per-second.svg"]
    assert all(f"(plots/{name})" in page for name in plots)
    assert texts(plots["intake-load-per-second.svg"]) >= {"100", "1k", "10k", "ours", "floor", "0"}
    assert "floor" not in texts(plots["intake-workers-per-second.svg"])


def test_a_larger_value_is_drawn_higher(report: Any, tmp_path: Path) -> None:
    write(report, tmp_path, report.Ran("intake", FIGURES, ""))
    svg = (tmp_path / "plots" / "intake-load-per-second.svg").read_text(encoding="utf-8")
    ours, floor = ElementTree.fromstring(svg).iter(SVG + "polyline")  # noqa: S314 - ours
    heights = [[float(point.split(",")[1]) for point in line.attrib["points"].split()] for line in (ours, floor)]
    assert heights[0] == sorted(heights[0], reverse=True)
    assert heights[1][-1] < heights[0][-1]


def test_plots_of_an_earlier_report_do_not_stay(report: Any, tmp_path: Path) -> None:
    write(report, tmp_path, report.Ran("intake", FIGURES, ""))
    write(report, tmp_path, report.Ran("intake", {"claims": []}, ""))
    assert not list((tmp_path / "plots").iterdir())


@pytest.mark.parametrize(
    ("code", "figures", "problem"),
    [
        ("print('table'); print('{\"ratios\": {}}')", {"ratios": {}}, ""),
        ("import sys; print('cannot run: no broker', file=sys.stderr); sys.exit(2)", None, "cannot run: no broker"),
        ("raise ValueError('odd')", None, "it ended with exit code 1: ValueError: odd"),
        ("", None, "it ended with exit code 0: it said nothing"),
    ],
)
def test_a_benchmark_that_gives_no_figures_says_why(
    report: Any, tmp_path: Path, code: str, figures: object, problem: str
) -> None:
    ran = report.run(script(tmp_path, code), full=False)
    assert (ran.figures, ran.problem) == (figures, problem)


def test_every_benchmark_is_run_and_no_part_of_one(report: Any) -> None:
    names = {path.stem for path in report.scripts()}
    assert {"limiter", "latency", "ledger"} <= names
    assert not {name for name in names if name.startswith("_") or name == "report"}
