// As many replicas as the signal needs, at so much a replica.
//
//     signal ─► value / per_replica, rounded up ─► replicas, and why
//
// The pipeline file's policy has the last word: it keeps the proposal between `min` and `max`, and lets nothing move too fast.
import { required } from "tidemill";

export const name = "{{name}}";
export const version = "0.1.0";
export const about = "As many replicas as the signal needs at so much a replica";

// The scaler's `settings`: how much one replica can take, and the query that says how much there is.
export const settings = { per_replica: required("number"), signal: required("string") };

export function configure({ per_replica }) {
  if (!(per_replica > 0)) throw new Error(`\`per_replica\` is ${per_replica}; write how much one replica can take, more than 0`);
}

// One tick. The reason stands in `tidemill.decisions`: say it with the figures.
export function decide({ workload, signals }, { settings: { per_replica, signal: name } }) {
  const now = workload.replicas;
  const signal = signals[name];
  if (!signal) throw new Error(`the scaler has no query \`${name}\``);
  // Only an answer counts behind which every source is caught up.
  if (signal.freshness !== "fresh" || signal.value === undefined) {
    return { replicas: now, reason: `${name} is not fresh; stays at ${now}` };
  }
  const replicas = Math.max(0, Math.ceil(signal.value / per_replica));
  return { replicas, reason: `${name} ${signal.value} / ${per_replica} a replica → ${replicas}; was ${now}` };
}
