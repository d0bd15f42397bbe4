// Keeps one event of so many, and every event that matters.
//
//     trace_id ─► its hash ─► keep or drop          level ─► ERROR and above are kept
//
// Events of one trace are kept or dropped together, and a batch that is tried again gets the same answer: nothing here is random.
import { required, type Contract, type Row } from "tidemill";

export const name = "sample-typescript";
export const version = "0.1.0";
export const about = "Keeps one trace of so many, and every error";

export const settings = { keep_one_of: required("number"), field: "trace_id" };
type Settings = typeof settings;

let keepOneOf: number;
let field: string;

export function configure(settings: Settings): Contract {
  ({ keep_one_of: keepOneOf, field } = settings);
  if (!Number.isInteger(keepOneOf) || keepOneOf < 1) {
    throw new Error(`\`keep_one_of\` is ${keepOneOf}; write a whole number from 1, as 10 for one of ten`);
  }
  return { reads: [field, "level"] };
}

export function keepRow(row: Row): boolean {
  const value: string | null | undefined = row[field];
  return value == null || ["ERROR", "FATAL"].includes(row.level) || hash(String(value)) % keepOneOf === 0;
}

// FNV-1a, 32 bits.
function hash(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}
