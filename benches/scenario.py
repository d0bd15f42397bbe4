#!/usr/bin/env python3
"""A step in the load of real processes, scaled three ways: how soon the first new replica serves, how long requests take, what it costs.

    cargo build --release
    python3 benches/scenario.py [--tidemill target/release/tidemill] [--rounds 1] [--low 20] [--high 90] [--after 60]

Needs nothing but Python and the program. The service is the demo's: one scrypt at a time in each replica, 200m of a core each, about 7
requests a second; the load is 3 requests a second, then 18, then 3 again, whatever the answers do (open loop: a request's latency counts
from when it was due). Contenders take turns, round by round:

    hpa, 15 s      the Kubernetes controller's period and behavior; the signal is read from metrics of 15 s, as metrics-server's are
    hpa, 1 s       the same plugin and target, each second, from metrics of 1 s
    queue, 1 s     Little's law and Erlang's formula for an objective of 500 ms, with the backlog, each second
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOW, HIGH = 3.0, 18.0

PIPELINE = """
[server]
address = "127.0.0.1:{http}"

[store]
path = "data"

[sources.metrics]
type = "scrape"
workload = "scrypt"
every = "{scrape}"
timeout = "900ms"

[tables.metrics]
inputs = ["metrics"]

[workloads.scrypt]
type = "process"
command = ["{tidemill}", "demo-server", "--port", "{{port}}", "--log", "access.log", "--cost", "{cost}"]
ports = "{first}-{last}"
listen = "127.0.0.1:{balancer}"
cpu = "200m"
health = "/healthz"
health_every = "{health}"

[scalers.scrypt]
workload = "scrypt"
every = "{every}"
min = 1
max = 6
{decider}
"""

# Requests a second of all replicas over a window that ended with the last scrape; a counter that is new began at zero.
RATE = """
WITH readings AS (
  SELECT date_part('epoch', timestamp) AS at, value,
         lag(date_part('epoch', timestamp)) OVER (PARTITION BY labels['instance'] ORDER BY timestamp) AS at_before,
         lag(value, 1, 0.0) OVER (PARTITION BY labels['instance'] ORDER BY timestamp) AS value_before
  FROM metrics
  WHERE name = '{name}' AND labels['method'] = 'POST' AND timestamp > now() - INTERVAL '2 minutes'
), steps AS (
  SELECT CASE WHEN value < value_before THEN value ELSE value - value_before END AS grew,
         coalesce(at_before, at - {scrape}) AS since, at AS until,
         date_part('epoch', now()) - {window} - {scrape} AS first, date_part('epoch', now()) - {scrape} AS last
  FROM readings
)
SELECT sum(grew * greatest(0.0, least(until, last) - greatest(since, first)) / (until - since)) / {window} AS value
FROM steps
"""

# What was taken in and not answered yet.
BACKLOG = """
WITH latest AS (
  SELECT name, labels['instance'] AS replica, value,
         row_number() OVER (PARTITION BY name, labels['instance'] ORDER BY timestamp DESC) AS nth
  FROM metrics
  WHERE name IN ('http_requests_received_total', 'http_request_duration_seconds_count') AND labels['method'] = 'POST'
    AND timestamp > now() - INTERVAL '3 seconds'
)
SELECT greatest(0.0, sum(CASE WHEN name = 'http_requests_received_total' THEN value ELSE -value END)) AS value
FROM latest WHERE nth = 1
"""


def rate(scrape, window):
    return RATE.format(name="http_requests_received_total", scrape=scrape, window=window)


def contenders():
    def sql(name, text):
        return f'signals.{name} = """{text}"""\n'

    hpa = 'plugin = "hpa"\nsettings = {{ target = 5{} }}\n'
    return {
        "hpa, 15 s": dict(every="15s", scrape="15s", health="1s", decider=hpa.format("") + sql("arrivals", rate(15.0, 15.0))),
        "hpa, 1 s": dict(every="1s", scrape="1s", health="200ms", decider=hpa.format("") + sql("arrivals", rate(1.0, 2.0))),
        "queue, 1 s": dict(
            every="1s",
            scrape="1s",
            health="200ms",
            decider='plugin = "queue"\nsettings = { objective = "500ms", service_time = "140ms", utilization = 0.75, drain = "10s" }\n'
            + 'stabilize_down = "30s"\n'
            + sql("arrivals", rate(1.0, 2.0))
            + sql("backlog", BACKLOG),
        ),
    }


def free_ports(count):
    for first in range(20000, 30000, count):
        sockets = []
        try:
            for port in range(first, first + count):
                held = socket.socket()
                sockets.append(held)
                held.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for held in sockets:
                held.close()
    sys.exit("no free ports")


def cost_of_a_hash(tidemill):
    """The demo measures it, and says it first."""
    demo = subprocess.Popen([tidemill, "demo", "--for", "10s"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in demo.stdout:
            found = re.search(r"scrypt N and p (\S+), r", line)
            if found:
                return found.group(1)
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(30)
    sys.exit("the demo did not say what a hash costs")


def ask(http, sql):
    request = urllib.request.Request(f"http://127.0.0.1:{http}/v1/sql", data=sql.encode())
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read())


async def call(port, due, latencies):
    """One request, on a connection of its own; one that fails counts with the longest time."""
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: scrypt\r\nConnection: close\r\nContent-Length: 11\r\n\r\nopen sesame")
            await writer.drain()
            answer = await reader.read()
            writer.close()
        good = answer.startswith(b"HTTP/1.1 200")
    except (OSError, TimeoutError):
        good = False
    latencies.append((due, time.monotonic() - due if good else 30.0, good))


async def offer(port, http, phases):
    """The load, and ten times a second how many replicas there are."""
    start, latencies, open_calls, seen = time.monotonic(), [], set(), []
    loop = asyncio.get_running_loop()

    async def watch():
        while True:
            at = time.monotonic()
            rows = await loop.run_in_executor(None, ask, http, "SELECT replica, phase FROM tidemill.replicas")
            seen.append((at - start, len(rows), sum(row["phase"] == "ready" for row in rows)))
            await asyncio.sleep(max(0.0, 0.1 - (time.monotonic() - at)))

    watching = asyncio.create_task(watch())
    due = start
    for per_second, seconds in phases:
        end = due + seconds
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(call(port, due, latencies))
            open_calls.add(task)
            task.add_done_callback(open_calls.discard)
            due += 1.0 / per_second
    watching.cancel()
    await asyncio.gather(*list(open_calls))
    return latencies, seen, start


def run(tidemill, settings, cost, options):
    ports = free_ports(12)
    with tempfile.TemporaryDirectory() as folder:
        text = PIPELINE.format(
            tidemill=tidemill, cost=cost, http=ports, balancer=ports + 1, first=ports + 2, last=ports + 11, **settings
        )
        with open(os.path.join(folder, "pipeline.toml"), "w") as file:
            file.write(text)
        mill = subprocess.Popen([tidemill, "run", "pipeline.toml"], cwd=folder, stderr=open(os.path.join(folder, "log"), "w"))
        try:
            wait_ready(ports, folder)
            phases = [(LOW, options.low), (HIGH, options.high), (LOW, options.after)]
            latencies, seen, start = asyncio.run(offer(ports + 1, ports, phases))
            decided = ask(
                ports,
                "SELECT CAST(timestamp AS BIGINT) AS at, event, replicas, decided FROM tidemill.decisions "
                "WHERE event = 'decision' AND decided > replicas ORDER BY timestamp",
            )
        finally:
            mill.send_signal(signal.SIGTERM)
            mill.wait(60)
    step = options.low
    before = max((ready for at, _, ready in seen if at < step), default=1)
    served = next((at - step for at, _, ready in seen if at >= step and ready > before), None)
    wall = time.time() - time.monotonic()
    # From the first decision for more after the step to its replica that is ready.
    rises = [row["at"] / 1e9 - wall - start for row in decided]
    first = next((at for at in rises if at >= step), None)
    acted = served + step - first if served is not None and first is not None else None
    took = sorted(latency for _, latency, _ in latencies)
    in_step = sorted(latency for due, latency, _ in latencies if step <= due - start < step + options.high)
    replica_seconds = sum((b[0] - a[0]) * a[1] for a, b in zip(seen, seen[1:]))
    return dict(
        served=served,
        acted=acted,
        p95=percentile(took, 95),
        p95_step=percentile(in_step, 95),
        over=sum(latency > 0.5 for latency in took) / len(took),
        replica_seconds=replica_seconds,
        failed=sum(not good for _, _, good in latencies),
        requests=len(took),
    )


def percentile(values, percent):
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def wait_ready(http, folder):
    for _ in range(300):
        try:
            if any(row["phase"] == "ready" for row in ask(http, "SELECT phase FROM tidemill.replicas")):
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit("no replica became ready:\n" + open(os.path.join(folder, "log")).read())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tidemill", default=os.path.join(ROOT, "target/release/tidemill"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--low", type=float, default=20.0, help="seconds of 3 requests a second before")
    parser.add_argument("--high", type=float, default=90.0, help="seconds of 18 a second")
    parser.add_argument("--after", type=float, default=60.0, help="seconds of 3 a second after")
    parser.add_argument("--only", help="one contender")
    options = parser.parse_args()
    tidemill = os.path.abspath(options.tidemill)
    cost = cost_of_a_hash(tidemill)
    print(f"scrypt N and p {cost}; {options.low:.0f} s of 3/s, {options.high:.0f} s of 18/s, {options.after:.0f} s of 3/s\n")
    print("| | step → new replica serves | decision → serves | p95 | p95 of the step | over 500 ms | replica-seconds | failed |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    results = {}
    for _ in range(options.rounds):
        for name, settings in contenders().items():
            if options.only and options.only != name:
                continue
            results.setdefault(name, []).append(run(tidemill, settings, cost, options))
            print(row(name, results[name][-1:]), flush=True)
    if options.rounds > 1:
        print("\nmedians")
        for name, runs in results.items():
            print(row(name, runs))


def row(name, runs):
    def middle(key):
        values = [one[key] for one in runs if one[key] is not None]
        return statistics.median(values) if values else float("nan")

    return (
        f"| {name} | {middle('served'):.1f} s | {middle('acted'):.2f} s | {middle('p95') * 1e3:.0f} ms | {middle('p95_step') * 1e3:.0f} ms "
        f"| {middle('over') * 100:.1f} % | {middle('replica_seconds'):.0f} | {middle('failed'):.0f} of {middle('requests'):.0f} |"
    )


if __name__ == "__main__":
    main()
