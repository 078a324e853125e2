"""Alert rules and dashboard of deploy/prometheus, by Prometheus's own tool: valid, and firing when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..support.imports import SOURCES

FOLDER = SOURCES / "deploy/prometheus"
RULES = FOLDER / "alerts.yaml"
PROMTOOL = shutil.which("promtool")
#: Names that the page of a broker and its documentation have.
KNOWN = set(re.findall(r"^\| `(dibs_\w+)`", (SOURCES / "docs/metrics.md").read_text(), re.MULTILINE))

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH")

OF_A_QUEUE = 'namespace="shop", kind="task", queue="mail"'
#: For each alert what makes it fire, a series a line with its values of every minute, and the like that must not.
CASES = {
    "DibsRedisDown": ["dibs_redis_up 1 0x20"],
    "DibsBrokerDown": ['up{job="dibs"} 1 0x20'],
    "DibsWaitsLong": [f"dibs_queue_oldest_ready_seconds{{{OF_A_QUEUE}}} 301x20"],
    "DibsNoWorker": [f'dibs_queue_items{{{OF_A_QUEUE}, state="ready"}} 1x20', 'dibs_workers{namespace="others"} 3x20'],
    "DibsPaused": [f"dibs_queue_paused{{{OF_A_QUEUE}}} 1x90", f'dibs_queue_items{{{OF_A_QUEUE}, state="ready"}} 5x90'],
    "DibsDeadLetters": [f'dibs_queue_items{{{OF_A_QUEUE}, state="dead"}} 4x16 5x4'],
    "DibsTaskUnknown": [f'dibs_queue_items{{{OF_A_QUEUE}, state="parked"}} 1x20'],
    "DibsSetAside": [f'dibs_queue_items{{{OF_A_QUEUE}, state="set_aside"}} 1x20'],
    "DibsCallsFail": ['dibs_rpcs_total{method="m", code="INTERNAL"} 0+60x20'],
    "DibsRedisSlow": [
        'dibs_redis_script_seconds_bucket{le="0.1"} 0+60x30',
        'dibs_redis_script_seconds_bucket{le="0.25"} 0+120x30',
        'dibs_redis_script_seconds_bucket{le="+Inf"} 0+120x30',
    ],
    "DibsSchedulesLate": [
        'dibs_schedule_late_seconds_bucket{le="60"} 0+1x60',
        'dibs_schedule_late_seconds_bucket{le="300"} 0+9x60',
        'dibs_schedule_late_seconds_bucket{le="+Inf"} 0+9x60',
    ],
}
QUIET = [
    "dibs_redis_up 1x90",
    'up{job="dibs"} 1x90',
    'up{job="else"} 0x90',
    f"dibs_queue_oldest_ready_seconds{{{OF_A_QUEUE}}} 20x90",
    f'dibs_queue_items{{{OF_A_QUEUE}, state="ready"}} 100x90',
    f'dibs_queue_items{{{OF_A_QUEUE}, state="dead"}} 4x90',
    f'dibs_queue_items{{{OF_A_QUEUE}, state="parked"}} 0x90',
    f'dibs_queue_items{{{OF_A_QUEUE}, state="set_aside"}} 0x90',
    f"dibs_queue_paused{{{OF_A_QUEUE}}} 0x90",
    'dibs_workers{namespace="shop"} 1x90',
    'dibs_rpcs_total{method="m", code="OK"} 0+600x90',
    'dibs_rpcs_total{method="m", code="INTERNAL"} 3x90',
    'dibs_redis_script_seconds_bucket{le="0.1"} 0+6000x90',
    'dibs_redis_script_seconds_bucket{le="+Inf"} 0+6001x90',
    'dibs_schedule_late_seconds_bucket{le="60"} 0+60x90',
    'dibs_schedule_late_seconds_bucket{le="+Inf"} 0+61x90',
]


def rules() -> dict[str, Any]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def promtool(*words: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def series(lines: list[str]) -> list[dict[str, str]]:
    found = []
    for line in lines:
        name, values = re.fullmatch(r"(\w+(?:\{.*\})?) (.*)", line).groups()  # type: ignore[union-attr]
        found.append({"series": name, "values": values})
    return found


def fires(tmp_path: Path, alerts: dict[str, bool], lines: list[str]) -> str:
    """What promtool says of a test that those fire, or do not, after so many minutes."""
    tests = [
        {
            "interval": "1m",
            "input_series": series(lines),
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                    "eval_time": "85m" if not firing or alert == "DibsPaused" else "19m",
                    "exp_samples": [{"labels": "{}", "value": int(firing)}],
                }
                for alert, firing in alerts.items()
            ],
        }
    ]
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    return promtool("test", "rules", str(file))


@needs_promtool
def test_the_rules_are_valid() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))


def test_every_alert_has_a_case() -> None:
    assert set(rules()) == set(CASES)


@needs_promtool
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_something_is_wrong(tmp_path: Path, alert: str) -> None:
    fires(tmp_path, {alert: True}, CASES[alert])


@needs_promtool
def test_none_fires_while_all_is_well(tmp_path: Path) -> None:
    fires(tmp_path, dict.fromkeys(CASES, False), QUIET)


def test_alerts_and_dashboard_use_metrics_that_there_are() -> None:
    text = RULES.read_text() + (FOLDER / "dashboard.json").read_text()
    used = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bdibs_\w+", text)}
    assert used - KNOWN == set()


@needs_promtool
def test_every_query_of_the_dashboard_is_valid(tmp_path: Path) -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(queries) > 15
    checked = [
        {"record": f"q{n}", "expr": query.replace("$__rate_interval", "5m").replace("$namespace", ".*")}
        for n, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": checked}]}))
    promtool("check", "rules", "--lint=none", str(file))


def test_every_command_that_an_alert_names_is_one() -> None:
    from dibs.cli.table import TABLE

    named = {words.split()[0] for words in re.findall(r"`?dibs ((?:[a-z-]+ ?)+)", RULES.read_text().split("rules:")[1])}
    assert named <= set(TABLE)
