"""Prometheus' own parser against /metrics: after an answer, every family is read, typed and whole.

Usage: metrics.py BASE_URL ADMIN_KEY. Prompts script the upstream behind Couplet with [[...]] directives.
"""

import sys
import urllib.request

from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

BASE, ADMIN_KEY = sys.argv[1:]


def scrape():
    request = urllib.request.Request(BASE + "/metrics", headers={"authorization": f"Bearer {ADMIN_KEY}"})
    with urllib.request.urlopen(request) as response:
        return response.headers["content-type"], response.read().decode()


client = OpenAI(base_url=BASE + "/v1", api_key="any", max_retries=0)
client.chat.completions.create(
    model="claude-sonnet-5-5", messages=[{"role": "user", "content": "[[words 4]]"}]
)
scrape()
content_type, text = scrape()
assert content_type == "text/plain; version=0.0.4; charset=utf-8", content_type

families = {}
for family in text_string_to_metric_families(text):
    assert family.name not in families, f"{family.name} is there twice"
    assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
    assert family.samples, family
    series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
    assert len(series) == len(set(series)), f"a series of {family.name} is there twice"
    families[family.name] = family
print("families", len(families), "ok")

# The parser takes the end of their names off counters.
kinds = {
    "couplet_requests": "counter",
    "couplet_tokens": "counter",
    "couplet_request_duration_seconds": "histogram",
    "couplet_time_to_first_delta_seconds": "histogram",
    "couplet_processes": "gauge",
    "process_cpu_seconds": "counter",
    "process_start_time_seconds": "gauge",
}
for name, kind in kinds.items():
    assert families[name].type == kind, families[name]
print("types", "ok")

for name in [name for name, family in families.items() if family.type == "histogram"]:
    by_series = {}
    for sample in families[name].samples:
        labels = dict(sample.labels)
        bound = labels.pop("le", None)
        of = by_series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        if bound is None:
            of[sample.name.rsplit("_", 1)[1]] = sample.value
        else:
            of["buckets"].append((float(bound), sample.value))
    for labels, of in by_series.items():
        assert of["buckets"] == sorted(of["buckets"]), (name, labels)
        counts = [count for _, count in of["buckets"]]
        assert counts == sorted(counts), (name, labels)
        assert of["buckets"][-1] == (float("inf"), of["count"]) and of["sum"] >= 0, (name, labels)
print("histograms", "ok")

written = sum(
    sample.value for sample in families["couplet_tokens"].samples if sample.labels["kind"] == "output"
)
assert written > 0, families["couplet_tokens"]
print("tokens", "ok")
