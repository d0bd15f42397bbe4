// Drops events whose level is below the least wanted.
//
//     level ─► keep or drop
//
// A plugin is handed rows and answers for each. It sees nothing else: no files, no network, no clock.
import { required } from "tidemill";

export const name = "{{name}}";
export const version = "0.1.0";
export const about = "Drops events below a level";

// From the least to the most important.
const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
export const settings = { least: required("string") };

let least;

// Checks the settings, and says what is read. Only columns named in `reads` are handed over.
export function configure(settings) {
  least = LEVELS.indexOf(settings.least.toUpperCase());
  if (least < 0) throw new Error(`\`least\` is \`${settings.least}\`; write one of ${LEVELS.join(", ")}`);
  return { reads: ["level"] };
}

// An event without a level, or with another word as its level, is kept: dropping is for what is known.
export function keepRow({ level }) {
  const rank = LEVELS.indexOf((level ?? "").toUpperCase());
  return rank < 0 || rank >= least;
}
