// Types for editors and for TypeScript; what each does stands in tidemill.js.

/** A column's type. Timestamps are a Date, milliseconds since 1970, or exact nanoseconds as a BigInt; int64 a number or a BigInt. */
export type DataType = "boolean" | "int64" | "float64" | "timestamp" | "utf8" | "binary";

/** A value that is read: timestamps in milliseconds since 1970; null where there is none. */
export type Value = string | number | boolean | Uint8Array | null;
/** A value that is written. */
export type Written = Value | bigint | Date | undefined;

/** A row by column; a column that no event has is undefined. */
export type Row = { readonly [column: string]: any };
/** What a row becomes, or what is added to it. */
export type Columns = { [column: string]: Written };

export interface Contract {
  /** Columns to hand over: `labels.job` is one label of a metric, `labels.*` every label, `*` every column. */
  reads?: string[];
  /** Columns the plugin makes or replaces, and the type of each. */
  writes?: Record<string, DataType>;
  /** Columns beyond `writes` may appear, named by the events. */
  openSchema?: boolean;
  /** `context.state` is what the call before handed to `output.state`. */
  keepsState?: boolean;
  /** What comes out of a parser. */
  produces?: "logs" | "metrics";
}

export interface Context<Settings = any> {
  settings: Settings;
  /** Milliseconds since 1970, where the pipeline grants the clock (`clock = true`). */
  now?: number;
  state?: Uint8Array;
}

export class Batch implements Iterable<Row> {
  readonly rows: number;
  readonly names: string[];
  type(name: string): DataType | undefined;
  /** Integers beyond ±2^53 are rounded here; `row` and iterating refuse them. */
  column(name: string): any[];
  text(name: string): (string | null)[];
  bytes(name: string): (Uint8Array | null)[];
  row(index: number): Row;
  [Symbol.iterator](): Iterator<Row>;
}

export interface Output {
  column(name: string, values: Written[], type?: DataType): void;
  error(row: number, reason: unknown): void;
  /** A filter's row that does not go on. */
  drop(row: number): void;
  /** For each row that comes out of a parser, the row it came from. */
  origin(rows: Iterable<number>): void;
  state(value: Uint8Array | string): void;
}

export interface Signal {
  name: string;
  freshness: "fresh" | "stale" | "missing" | "failed";
  table: Batch;
  message: string;
  caughtUpAt?: number;
  /** The first row's `value`, or of its only column of numbers. */
  readonly value?: number;
}

export interface Request {
  /** milliseconds since 1970, as every time here */
  now: number;
  workload: {
    name: string;
    replicas: number;
    ready: number;
    min: number;
    max: number;
    members: { name: string; ready: boolean; startedAt: number; changedAt: number }[];
  };
  signals: Record<string, Signal | undefined>;
  /** the latest, newest last */
  decisions: { at: number; replicas: number; proposed?: number; decided: number; reason: string }[];
  advice: { name: string; replicas?: number; reason: string }[];
  /** what the last tick handed back; empty at first */
  state: Uint8Array;
}

export interface Proposal {
  replicas: number;
  reason: string;
  state?: Uint8Array | string;
}

type Types = { string: string; number: number; boolean: boolean; array: any[]; object: Record<string, any> };
export function required<T extends keyof Types>(type: T): Types[T];
export function optional<T extends keyof Types>(type: T): Types[T] | undefined;

/** `2015-05-17T10:05:03.25Z` as nanoseconds since 1970. Throws if it is no time. */
export function rfc3339(text: string): bigint;
export function decode(bytes: Uint8Array): string;
export function encode(text: string): Uint8Array;

export const log: Record<"trace" | "debug" | "info" | "warn" | "error", (message: string) => void>;

export const tables: {
  columns(table: string): string[];
  lookup(table: string, key: string, keys: (string | null)[], want: string[]): Batch;
  lookupNetwork(table: string, key: string, addresses: (string | null)[], want: string[]): Batch;
};
