// Keeps a signal at its target, and never fewer replicas than a schedule asks for.
//
//     signal ─► replicas × value / target, rounded up ─┐
//     time of day ─► the schedule's least ─────────────┴─► the larger ─► replicas, and why
//
// A schedule is a list of `{ from = "08:00", to = "20:00", days = "mon-fri", min = 6 }`, in UTC.
import { required } from "tidemill";

export const name = "target-tracking-javascript";
export const version = "0.1.0";
export const about = "Keeps a signal at its target, with a least number of replicas by the time of day";

export const settings = { signal: required("string"), target: required("number"), tolerance: 0.1, schedule: [] };

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
let schedule;

export function configure({ target, schedule: written }) {
  if (!(target > 0)) throw new Error(`\`target\` is ${target}; write what the signal should be, more than 0`);
  schedule = written.map((one, at) => {
    const wrong = (what) => new Error(`\`schedule\`: entry ${at + 1}: ${what}`);
    const { from = "00:00", to = "24:00", days = "sun-sat", min, ...rest } = one;
    const [unknown] = Object.keys(rest);
    if (unknown) throw wrong(`there is no \`${unknown}\`; write from, to, days, min`);
    if (!Number.isInteger(min) || min < 0) throw wrong("`min` is missing; write how many replicas there should be at least");
    const minutes = [from, to].map((time) => {
      const found = /^(\d\d):(\d\d)$/.exec(time);
      if (!found) throw wrong(`\`${time}\` is no time of day; it is written like 08:00`);
      return found[1] * 60 + +found[2];
    });
    const [first, last = first] = days.split("-").map((day) => DAYS.indexOf(day));
    if (first < 0 || last < 0) throw wrong(`\`${days}\` are no days; they are written like mon-fri or sat`);
    return { from: minutes[0], to: minutes[1], first, last, min, told: `${days} ${from} to ${to}` };
  });
}

export function decide({ now, workload, signals }, { settings: { signal: name, target, tolerance } }) {
  const signal = signals[name];
  if (!signal) throw new Error(`the scaler has no query \`${name}\``);
  const current = workload.replicas;
  let replicas = current;
  let reason = `${name} is not fresh; stays at ${current}`;
  if (signal.freshness === "fresh" && signal.value !== undefined) {
    const ratio = signal.value / target;
    replicas = Math.abs(ratio - 1) <= tolerance ? current : Math.ceil(Math.max(current, 1) * ratio);
    reason = `${name} ${signal.value} of ${target} with ${current} → ${replicas}`;
  }
  const least = leastAt(new Date(now));
  return least && least.min > replicas ? { replicas: least.min, reason: `${reason}; at least ${least.min} on ${least.told}` } : { replicas, reason };
}

// The entry that asks for the most at this time.
function leastAt(time) {
  const minute = time.getUTCHours() * 60 + time.getUTCMinutes();
  const day = time.getUTCDay();
  const isDay = ({ first, last }) => (first <= last ? day >= first && day <= last : day >= first || day <= last);
  const isTime = ({ from, to }) => (from <= to ? minute >= from && minute < to : minute >= from || minute < to);
  return schedule.filter((one) => isDay(one) && isTime(one)).sort((a, b) => b.min - a.min)[0];
}
