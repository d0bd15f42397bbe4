// Lines such as `2026-01-31T12:00:00Z WARN checkout took 812 ms` as columns.
//
//     body ─► timestamp · level · message
//
// A plugin is handed rows and hands rows back. It sees nothing else: no files, no network, no clock.
import { optional, rfc3339 } from "tidemill";

export const name = "{{name}}";
export const version = "0.1.0";
export const about = "Lines with a time, a level and a message";

// What stands after a line's time, if the line names its level.
const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
export const settings = { default_level: optional("string") };

// Checks the settings, and says what is read and what is written. Only columns named in `reads` are handed over.
export function configure({ default_level: level }) {
  if (level !== undefined && !LEVELS.includes(level)) {
    throw new Error(`\`default_level\` is \`${level}\`; write one of ${LEVELS.join(", ")}`);
  }
  return { reads: ["body"], writes: { timestamp: "timestamp", level: "utf8", message: "utf8" } };
}

// One row: an object by column, a list of them, or null for none. What is thrown is the reason in `tidemill.dead_letters`.
export function parseRow({ body }, { settings }) {
  const found = /^(\S+) (.*)$/s.exec(body ?? "");
  if (!found) throw new Error("a time, a space and a message should stand here");
  const [, time, rest] = found;
  const [level] = rest.split(" ", 1);
  return LEVELS.includes(level) && rest.length > level.length
    ? { timestamp: rfc3339(time), level, message: rest.slice(level.length + 1) }
    : { timestamp: rfc3339(time), level: settings.default_level, message: rest };
}
