"""The Horizontal Pod Autoscaler as its documentation tells it, in exact arithmetic: a reference to hold the plugin against.

Written from kubernetes.io, "Horizontal Pod Autoscaling": "Algorithm details" and "Configurable scaling behavior". Reads a case a line
as JSON from standard input, each with its settings and its ticks; writes the proposals of each as JSON.
"""
import json
import sys
from fractions import Fraction as F
from math import ceil, floor


def number(text):
    return F(str(text))


def within(ratio, up, down):
    return 1 - down <= ratio <= 1 + up


def of_total(metric, replicas, up, down):
    value, target = number(metric["value"]), number(metric["target"])
    if metric["type"] == "AverageValue":
        if replicas and within(value / (target * replicas), up, down):
            return replicas
        return ceil(value / target)
    ratio = value / target
    if not replicas:
        return ceil(ratio)
    return replicas if within(ratio, up, down) else ceil(ratio * replicas)


def of_replicas(metric, now, replicas, up, down):
    target, utilization = number(metric["target"]), metric["type"] == "Utilization"
    cpu = metric["resource"] == "cpu"
    measured, missing, unready = [], 0, 0
    for member in metric["members"]:
        usage = member.get("value")
        young = member["started_at"] + 300 > now
        if member["started_at"] == 0:
            unready += 1
        elif usage is None:
            missing += 1
        elif cpu and young and (not member["ready"] or member["measured_at"] < member["changed_at"]):
            unready += 1
        elif cpu and not young and not member["ready"] and member["started_at"] + 30 > member["changed_at"]:
            unready += 1
        else:
            measured.append(number(usage))
    if not measured:
        return None
    request = number(metric["request"])
    whole = request * target / 100 if utilization else target

    def ratio(usages):
        return sum(usages) / len(usages) / whole

    first = ratio(measured)
    if not missing and not (unready and first > 1):
        return replicas if within(first, up, down) else ceil(first * len(measured))
    if first == 1:
        return replicas
    everyone = list(measured)
    if missing:
        full = request * max(F(100), target) / 100 if utilization else target
        everyone += [full if first < 1 else F(0)] * missing
    if unready and first > 1:
        everyone += [F(0)] * unready
    second = ratio(everyone)
    if within(second, up, down) or (first < 1 < second) or (second < 1 < first):
        return replicas
    wanted = ceil(second * len(everyone))
    if (second < 1 and wanted > replicas) or (second > 1 and wanted < replicas):
        return replicas
    return wanted


def limit(rules, now, replicas, added, taken, up):
    if rules["selectPolicy"] == "Disabled":
        return replicas
    limits = []
    for policy in rules["policies"]:
        since = now - policy["periodSeconds"]
        start = replicas - sum(n for at, n in added if at > since) + sum(n for at, n in taken if at > since)
        value = policy["value"] if up else -policy["value"]
        if policy["type"] == "Pods":
            limits.append(start + value)
        else:
            exact = F(start * (100 + value), 100)
            limits.append(ceil(exact) if up else int(exact))
    largest = (rules["selectPolicy"] == "Max") == up
    chosen = max(limits) if largest else min(limits)
    return max(chosen, replicas) if up else max(0, min(chosen, replicas))


def decide(case):
    settings, proposals = case["settings"], []
    up, down = settings["behavior"]["scaleUp"], settings["behavior"]["scaleDown"]
    up_tolerance, down_tolerance = number(up["tolerance"]), number(down["tolerance"])
    recommended, added, taken, before, last = None, [], [], None, None
    for tick in case["ticks"]:
        now, replicas = tick["now"], tick["replicas"]
        if before is not None and replicas > before:
            added.append((last, replicas - before))
        if before is not None and replicas < before:
            taken.append((last, before - replicas))
        if recommended is None:
            recommended = [(now, replicas, False)]
        wishes, doubts = [], False
        for metric in tick["metrics"]:
            if metric.get("missing"):
                wish = None
            elif "members" in metric:
                wish = of_replicas(metric, now, replicas, up_tolerance, down_tolerance)
            else:
                wish = of_total(metric, replicas, up_tolerance, down_tolerance)
            if wish is None:
                doubts = True
            else:
                wishes.append(wish)
        wanted = max(wishes, default=None)
        held = wanted is None or (doubts and wanted < replicas)
        if held:
            wanted = replicas
        recommended.append((now, wanted, held))
        within_up = [n for at, n, held in recommended if at > now - up["stabilizationWindowSeconds"] and not held]
        lowest = min(within_up, default=wanted)
        highest = max([n for at, n, _ in recommended if at > now - down["stabilizationWindowSeconds"]], default=wanted)
        stable = replicas
        if stable < min(lowest, wanted):
            stable = min(lowest, wanted)
        if stable > max(highest, wanted):
            stable = max(highest, wanted)
        if stable > replicas:
            stable = min(stable, limit(up, now, replicas, added, taken, True))
        elif stable < replicas:
            stable = max(stable, limit(down, now, replicas, added, taken, False))
        proposals.append(stable)
        before, last = replicas, now
    return proposals


for line in sys.stdin:
    print(json.dumps(decide(json.loads(line))), flush=False)
