#!/usr/bin/env python3
"""Deciders on real loads: tuned on the first half of each trace, compared on the second.

    python3 benches/scale.py [--tidemill target/release/tidemill] [--data FOLDER] [--only nasa,taxi]

Needs nothing but Python and the program. FOLDER holds the traces as the Numenta benchmark, the Internet Traffic Archive and Azure give
them; a trace that is not there is left out. It runs `tidemill scale backtest`, so every row can be had by hand: the commands are printed
with --verbose.

One workload for all: a replica serves 10 requests a second, 0.1 s each, and serves 60 s after its start; the objective is 0.5 s. Each trace
is scaled so that its mean is 100 requests a second, and counts become rates.

Tuned means: of the grid, the one that costs least on the first half of the trace, where a request over the objective costs as much as a
hundred that are served: 10 replica-seconds. With --days only so many days before and after the middle are looked at.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
OVER_SECONDS = 10.0  # replica-seconds that a request over the objective costs
MEAN = 100.0

# name, file, options of the trace; the first three have the pattern of a day
TRACES = [
    ("nasa", "nasa/per_minute.csv.gz", []),
    ("worldcup98", "worldcup98/per_minute_a.csv.gz", []),
    ("taxi", "nab/realKnownCause/nyc_taxi.csv.gz", []),
    ("elb", "nab/realAWSCloudwatch/elb_request_count_8c0756.csv.gz", []),
    ("twitter AAPL", "nab/realTweets/Twitter_volume_AAPL.csv.gz", []),
    ("twitter CRM", "nab/realTweets/Twitter_volume_CRM.csv.gz", []),
    ("twitter FB", "nab/realTweets/Twitter_volume_FB.csv.gz", []),
    ("twitter IBM", "nab/realTweets/Twitter_volume_IBM.csv.gz", []),
    ("twitter PFE", "nab/realTweets/Twitter_volume_PFE.csv.gz", []),
    ("azure llm", "azure/AzureLLMInferenceTrace_conv.csv.gz", ["--count", "10s"]),
]

PIPELINE = """
[workloads.web]
type = "none"

[scalers.hpa]
workload = "web"
every = "15s"
min = 1
max = 1000
plugin = "hpa"
settings = { target = 6 }
signals = { rps = "SELECT 1" }

[scalers.hpa1s]
workload = "web"
every = "1s"
min = 1
max = 1000
plugin = "hpa"
settings = { target = 6 }
signals = { rps = "SELECT 1" }

[scalers.queue]
workload = "web"
every = "15s"
min = 1
max = 1000
stabilize_down = "5m"
plugin = "queue"
settings = { objective = "300ms", utilization = 0.7 }
signals = { arrivals = "SELECT 1", backlog = "SELECT 1", service_time = "SELECT 1" }

[scalers.panic]
workload = "web"
every = "15s"
min = 1
max = 1000
stabilize_down = "5m"
plugin = "panic"
settings = { target = 6 }
signals = { stable = "SELECT 1", burst = "SELECT 1" }

[scalers.forecast]
workload = "web"
every = "15s"
min = 1
max = 1000
stabilize_down = "5m"
plugin = "forecast"
settings = { target = 8, spread = 4 }
signals = { load = "SELECT 1", history = "SELECT 1" }

[scalers.combine]
workload = "web"
every = "15s"
min = 1
max = 1000
plugin = "combine"
stabilize_down = "5m"
signals = { arrivals = "SELECT 1", backlog = "SELECT 1", service_time = "SELECT 1", load = "SELECT 1", history = "SELECT 1" }

[scalers.combine.advisers.queue]
plugin = "queue"
settings = { objective = "300ms", utilization = 0.7 }

[scalers.combine.advisers.forecast]
plugin = "forecast"
settings = { target = 8, spread = 4 }
"""

# name, scaler, grid. hpa each second takes the target that hpa at 15 s was tuned to: its grid would take hours. combine takes the larger of
# queue and forecast. forecast's target is what a replica takes within the objective: 10 × (1 − 0.1 s ÷ 0.5 s).
DECIDERS = [
    ("hpa 15 s", "hpa", ["target=3..8:0.1"]),
    ("hpa 1 s", "hpa1s", None),
    ("queue", "queue", ["utilization=0.3..0.8:0.02"]),
    ("panic", "panic", ["target=3..8:0.1"]),
    ("forecast", "forecast", ["spread=1..8:0.5"]),
    ("combine", "combine", ["advisers.queue.utilization=0.4..0.8:0.04", "advisers.forecast.spread=1..6:1"]),
]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tidemill", default=os.path.join(ROOT, "target/release/tidemill"))
    arguments.add_argument("--data", default=os.path.join(ROOT, "../shared/data/autoscaling"))
    arguments.add_argument("--days", type=float, help="days before the middle that are tuned on, and after it that are compared; all if not given")
    arguments.add_argument("--only", help="names of traces, with commas")
    arguments.add_argument("--deciders", help="names of deciders, with commas")
    arguments.add_argument("--verbose", action="store_true")
    options = arguments.parse_args()
    print("| trace | decider | tuned to | replica-hours | requests over | seconds over | worst s | changes | flaps |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        pipeline = os.path.join(folder, "deciders.toml")
        with open(pipeline, "w") as file:
            file.write(PIPELINE)
        for trace in TRACES:
            if not options.only or trace[0] in options.only.split(","):
                compare(trace, pipeline, options)


def compare(trace, pipeline, options):
    name, path, extra = trace
    path = os.path.join(options.data, path)
    if not os.path.exists(path):
        print(f"left out: there is no {path}", file=sys.stderr)
        return
    days, peak = shape(path, extra)
    middle = 50.0
    reach = min(100 * options.days / days, middle) if options.days else middle
    begin, end = middle - reach, middle + reach
    common = [pipeline, "--trace", path, "--peak", f"{peak:.3f}", *extra]
    tuned = {}
    for decider, scaler, grid in DECIDERS:
        if options.deciders and decider not in options.deciders.split(","):
            continue
        settings = tuned.get("hpa", ["target=6"])
        if grid:
            axes = [word for axis in grid for word in ("--grid", axis)]
            runs = backtest([*common, "--scaler", scaler, *axes, "--alone", "--from", f"{begin}%", "--to", f"{middle}%"], options)
            settings = min(runs, key=cost)["run"].split()[1:]
        tuned[scaler] = settings
        words = [word for setting in settings for word in ("--set", setting)]
        [run] = backtest([*common, "--scaler", scaler, *words, "--alone", "--from", f"{middle}%", "--to", f"{end}%"], options)
        print(
            f"| {name} | {decider} | {' '.join(short(s) for s in settings)} | {run['replica_hours']:.0f} | {100 * run['share_over']:.4f} % "
            f"| {run['seconds_over']:.0f} | {run['latency_worst']:.1f} | {run['changes']} | {run['flaps']} |",
            flush=True,
        )


def cost(run):
    return run["replica_hours"] + OVER_SECONDS * run["share_over"] * run["requests"] / 3600


def short(setting):
    return setting.replace("advisers.", "")


def backtest(arguments, options):
    command = [options.tidemill, "scale", "backtest", *arguments, "--json"]
    if options.verbose:
        print(" ".join(command), file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 and not done.stdout:
        sys.exit(done.stderr)
    if done.stderr and options.verbose:
        print(done.stderr, file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def shape(path, extra):
    """Its length in days, and the peak that makes its mean load 100 a second."""
    with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as file:
        rows = list(csv.reader(file))[1:]
    if "--count" in extra:
        first, last = seconds(rows[0][0]), seconds(rows[-1][0])
        buckets = {}
        for row in rows:
            at = int(seconds(row[0]) // 10)
            buckets[at] = buckets.get(at, 0) + 1
        mean = len(rows) / max((last - first) / 10, 1)
        return (last - first) / 86400, MEAN * max(buckets.values()) / mean
    values = {}
    for row in rows:
        values[row[0]] = values.get(row[0], 0) + float(row[1])
    first, last = seconds(rows[0][0]), seconds(rows[-1][0])
    return (last - first) / 86400, MEAN * max(values.values()) / (sum(values.values()) / len(values))


def seconds(text):
    import datetime

    try:
        return float(text) * 60
    except ValueError:
        return datetime.datetime.fromisoformat(text.strip()[:26]).replace(tzinfo=datetime.timezone.utc).timestamp()


if __name__ == "__main__":
    main()
