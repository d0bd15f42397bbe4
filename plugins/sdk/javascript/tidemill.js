// Tidemill plugins in JavaScript and TypeScript: rows or columns in, rows or columns out.
//
//     configure(settings)          says what the plugin reads and makes
//     parseRow(row, context)       one event → what it becomes: an object, several, or none     (parser)
//     keepRow(row, context)        one event → whether it goes on                               (filter)
//     enrichRow(row, context)      one event → an object with the columns to add                (enricher)
//     decide(request, context)     the answers of the scaler's queries → { replicas, reason }   (autoscaler)
//
// parse, keep and enrich (batch, output, context) are the same a batch at a time. The world is told by which of them a plugin exports.
//
// Always: what a row's function throws is that row's error, and the other rows go on.
// Never:  a 64-bit integer is rounded in silence: a row that holds one beyond ±2^53 is an error, and a BigInt is written as it is.
import * as hostLog from "tidemill:plugin/log@0.1.0";
import * as hostTables from "tidemill:plugin/tables@0.1.0";

// What there is not: once the plugin is built, asking for it is an error that says so. What is imported may ask.
let built = false;
const noClock = (what, real) => (...given) => {
  if (built) throw new Error(`\`${what}\`: a plugin has no clock; the time is \`context.now\`, where the stage says \`clock = true\``);
  return real(...given);
};
const now = Date.now;
Date.now = noClock("Date.now", now);
globalThis.Date = new Proxy(Date, {
  construct: (target, given, as) => (given.length === 0 ? new target(noClock("new Date()", now)()) : Reflect.construct(target, given, as)),
  apply: (target) => noClock("Date()", target)(),
});
Date.prototype.constructor = Date;
const ticks = globalThis.performance?.now?.bind(globalThis.performance) ?? now;
Object.defineProperty(globalThis, "performance", { value: { now: noClock("performance.now", ticks) } });

const TYPES = ["boolean", "int64", "float64", "timestamp", "utf8", "binary"];

/** A line in `tidemill.logs`, marked with the stage. Not for data. */
export const log = Object.fromEntries(
  ["trace", "debug", "info", "warn", "error"].map((level) => [level, (message) => hostLog.log(level, String(message))]),
);

// ---- Text and time -----------------------------------------------------------------------------------------------------------------

/** Bytes as text; what is not UTF-8 becomes U+FFFD. */
export function decode(bytes) {
  const latin1 = atob(bytes.toBase64()); // the quickest way here from bytes to a string
  return NOT_ASCII.test(latin1) ? fromUtf8(latin1) : latin1;
}

/** Text as UTF-8. */
export function encode(text) {
  return Uint8Array.fromBase64(btoa(toUtf8(text)));
}

const NOT_ASCII = /[^\x00-\x7f]/;
const SEQUENCE =
  /[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}|[\x80-\xff]/g;

// One character stands for one byte.
function fromUtf8(latin1) {
  try {
    return decodeURIComponent(escape(latin1));
  } catch {
    return latin1.replace(SEQUENCE, (bytes) => (bytes.length > 1 ? decodeURIComponent(escape(bytes)) : "\ufffd"));
  }
}

function toUtf8(text) {
  return NOT_ASCII.test(text) ? unescape(encodeURIComponent(text.toWellFormed())) : text;
}

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/** `2015-05-17T10:05:03.25Z` as nanoseconds since 1970, exactly. Throws if it is no time. */
export function rfc3339(text) {
  const wrong = (why) => new Error(`\`${text}\` is not a time: ${why}`);
  const found = RFC3339.exec(text);
  if (!found) throw wrong("it is written like `2015-05-17T10:05:03Z`");
  const [, year, month, day, hour, minute, second, fraction = "", sign, hours, minutes] = found;
  const ms = Date.UTC(year, month - 1, day, hour, minute, Math.min(second, 59));
  const date = new Date(ms);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== Number(day)) throw wrong("there is no such day");
  if (hour > 23 || minute > 59 || second > 60 || hours > 23 || minutes > 59) throw wrong("there is no such time of day");
  const offset = sign ? (sign === "-" ? -1 : 1) * (hours * 3600 + minutes * 60) : 0;
  return BigInt(ms / 1000 - offset) * 1000000000n + BigInt((fraction + "000000000").slice(0, 9));
}

/** Nanoseconds as the milliseconds that plugins see. */
const milliseconds = (nanoseconds) => nanoseconds / 1e6;

// ---- Settings ----------------------------------------------------------------------------------------------------------------------

/** A setting that has to be there. */
export const required = (type) => ({ [SETTING]: type, required: true });
/** A setting that may be absent: it is undefined then. */
export const optional = (type) => ({ [SETTING]: type });

const SETTING = Symbol("setting");
const kindOf = (value) => (Array.isArray(value) ? "array" : value === null ? "null" : typeof value);
const A = { string: "text", number: "a number", boolean: "true or false", array: "a list", object: "a table" };

function readSettings(declared, json) {
  const given = JSON.parse(json || "{}");
  const names = Object.keys(declared);
  for (const key of Object.keys(given)) {
    if (!names.includes(key)) throw new Error(`unknown field \`${key}\`, ${expected(names)}`);
  }
  return Object.fromEntries(
    names.map((name) => {
      const example = declared[name];
      const type = example?.[SETTING] ?? kindOf(example);
      const value = given[name];
      if (value === undefined) {
        if (example?.required) throw new Error(`missing field \`${name}\``);
        return [name, example?.[SETTING] ? undefined : example];
      }
      if (kindOf(value) !== type) throw new Error(`\`${name}\` is ${JSON.stringify(value)}; write ${A[type] ?? type}`);
      return [name, value];
    }),
  );
}

function expected(names) {
  if (names.length === 0) return "there are no settings";
  const quoted = names.map((name) => `\`${name}\``);
  return names.length === 1 ? `expected ${quoted[0]}` : `expected one of ${quoted.join(", ")}`;
}

// ---- Columns in --------------------------------------------------------------------------------------------------------------------

/** Columns of equal length. Iterating gives rows: objects by column, null where there is no value. */
export class Batch {
  #columns;
  #read = new Map();
  #reads;
  constructor({ rows, columns }, reads) {
    this.rows = rows;
    this.#columns = new Map(columns.map((column) => [column.name, column]));
    this.#reads = reads;
  }

  // A column; undefined where no event has it. One that the contract does not read is a mistake: it would be null for ever.
  #found(name) {
    const column = this.#columns.get(name);
    if (!column && this.#reads) mustRead(name, this.#reads);
    return column;
  }

  /** The names of the columns there are. */
  get names() {
    return [...this.#columns.keys()];
  }

  /** A column's type; undefined where no event has it. */
  type(name) {
    const tag = this.#found(name)?.values.tag;
    return tag === "dict-utf8" ? "utf8" : tag;
  }

  /** A column's values, null where there is none: text as string, bytes as Uint8Array, timestamps in milliseconds since 1970. */
  column(name) {
    let values = this.#read.get(name);
    if (!values) {
      const column = this.#found(name);
      values = column ? read(column) : new Array(this.rows).fill(null);
      this.#read.set(name, values);
    }
    return values;
  }

  /** A column of text or bytes, as text. */
  text(name) {
    const column = this.#found(name);
    if (column?.values.tag !== "binary") return this.column(name);
    const key = "text " + name;
    if (!this.#read.has(key)) this.#read.set(key, texts(column));
    return this.#read.get(key);
  }

  /** A column of text or bytes, as Uint8Arrays. */
  bytes(name) {
    const column = this.#found(name);
    return column?.values.tag === "utf8" ? binaries(column) : this.column(name);
  }

  /** A row as an object. `body` is text here: the bytes are at `batch.bytes("body")`. */
  row(index) {
    const row = {};
    for (const [name, column] of this.#columns) {
      const value = (name === "body" ? this.text(name) : this.column(name))[index];
      if (column.values.tag === "int64" && value !== null && !Number.isSafeInteger(value)) {
        throw new Error(`\`${name}\` is beyond ±2^53, which a number in JavaScript does not hold exactly`);
      }
      row[name] = value;
    }
    if (this.#reads) Object.setPrototypeOf(row, UNREAD);
    return row;
  }

  *[Symbol.iterator]() {
    for (let index = 0; index < this.rows; index++) yield this.row(index);
  }

  /** Where a column's bytes stand, for text that is cut out of it. */
  raw(name) {
    const column = this.#columns.get(name);
    const { tag, val } = column?.values ?? {};
    return tag === "utf8" || tag === "binary" ? val : undefined;
  }
}

// What libraries ask of any object, to see what it is.
const PROBED = new Set(["toJSON", "then", "length", "size", "nodeType", "$$typeof", "inspect"]);

// What a row has for a name that none of its columns has.
const UNREAD = new Proxy(Object.prototype, {
  get(target, name) {
    if (typeof name === "string" && !(name in target) && !PROBED.has(name)) mustRead(name, contract.reads);
    return target[name];
  },
});

function mustRead(name, reads) {
  const isRead = reads.some((pattern) => (pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern));
  if (!isRead) throw new Error(`the plugin reads no column \`${name}\`; name it in the contract's reads (${reads.join(", ") || "nothing"})`);
}

function read({ values: { tag, val }, validity }) {
  switch (tag) {
    case "utf8":
    case "dict-utf8":
      return texts({ values: { tag, val }, validity });
    case "binary":
      return binaries({ values: { val }, validity });
    case "boolean":
      return nulled(Array.from(val, (byte) => byte === 1), validity);
    case "timestamp":
      return nulled(val.map(milliseconds), validity);
    default:
      return nulled(val, validity);
  }
}

function nulled(values, validity) {
  if (validity) for (let at = 0; at < validity.length; at++) if (!validity[at]) values[at] = null;
  return values;
}

function texts({ values: { tag, val }, validity }) {
  if (tag === "dict-utf8") {
    const words = texts({ values: { tag: "utf8", val: val.values } });
    return nulled(Array.from(val.indices, (index) => words[index]), validity);
  }
  const { offsets, data } = val;
  const latin1 = atob(data.toBase64());
  const plain = !NOT_ASCII.test(latin1);
  const values = new Array(offsets.length - 1);
  for (let at = 0; at < values.length; at++) {
    const value = latin1.substring(offsets[at], offsets[at + 1]);
    values[at] = plain || !NOT_ASCII.test(value) ? value : fromUtf8(value);
  }
  return nulled(values, validity);
}

function binaries({ values: { val }, validity }) {
  const { offsets, data } = val;
  const values = new Array(offsets.length - 1);
  for (let at = 0; at < values.length; at++) values[at] = data.subarray(offsets[at], offsets[at + 1]);
  return nulled(values, validity);
}

// ---- Columns out -------------------------------------------------------------------------------------------------------------------

/** Values of one type, null or undefined where there is none, as they cross. Of each value that does not fit `misfits` gets its place
 *  and why. `source` is text they were probably cut out of. */
function column(name, type, values, misfits, source) {
  const rows = values.length;
  let validity;
  for (let at = 0; at < rows; at++) {
    if (values[at] === null || values[at] === undefined) (validity ??= new Uint8Array(rows).fill(1))[at] = 0;
  }
  const write = WRITE[type];
  if (!write) throw new Error(`column \`${name}\` is of no type \`${type}\`; there is ${TYPES.join(", ")}`);
  const misfit = (at, what) => void misfits.set(at, `\`${name}\` is ${shown(values[at])}; the column holds ${what}`);
  return { name, values: write(values, misfit, source), validity };
}

function shown(value) {
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof Date) return "a Date that is no time";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

// An object with columns. A promise or a map would be one without any, and the event lost.
function columnsIn(call, value) {
  if (typeof value === "object" && typeof value.then === "function") throw new TypeError(`${call} is async; a plugin cannot wait, so answer at once`);
  const isPlain = typeof value === "object" && !(value instanceof Date || value instanceof Map || value instanceof Set || Array.isArray(value));
  if (!isPlain) throw new TypeError(`${call} answered ${value instanceof Date ? "a Date" : shown(value)}; answer an object with columns`);
  // A row that was handed in is answered too: then it is an object like any other.
  return Object.getPrototypeOf(value) === UNREAD ? { ...value } : value;
}

const absent = (value) => value === null || value === undefined;

const WRITE = {
  boolean(values, misfit) {
    const val = new Uint8Array(values.length);
    values.forEach((value, at) => {
      if (value === true) val[at] = 1;
      else if (value !== false && !absent(value)) misfit(at, "true or false");
    });
    return { tag: "boolean", val };
  },
  float64(values, misfit) {
    const val = new Float64Array(values.length);
    values.forEach((value, at) => {
      if (typeof value === "number") val[at] = value;
      else if (!absent(value)) misfit(at, "numbers");
    });
    return { tag: "float64", val };
  },
  int64(values, misfit) {
    const val = new BigInt64Array(values.length);
    const halves = new Int32Array(val.buffer);
    for (let at = 0; at < values.length; at++) {
      const value = values[at];
      if (absent(value)) continue;
      if (Number.isSafeInteger(value)) {
        halves[2 * at] = value; // the low 32 bits
        halves[2 * at + 1] = Math.floor(value / 4294967296);
      } else if (typeof value === "bigint" && BigInt.asIntN(64, value) === value) val[at] = value;
      else misfit(at, "whole numbers; a BigInt beyond ±2^53");
    }
    return { tag: "int64", val };
  },
  timestamp(values, misfit) {
    const val = new BigInt64Array(values.length);
    const halves = new Int32Array(val.buffer);
    for (let at = 0; at < values.length; at++) {
      let value = values[at];
      if (absent(value)) continue;
      if (value instanceof Date) value = value.getTime();
      if (typeof value === "number" && Math.abs(value) < 9e12) {
        // Nanoseconds do not fit a number: whole milliseconds by halves of 32 bits, so that no digit is made up.
        const whole = Math.floor(value);
        const high = Math.floor(whole / 65536);
        const low = (whole - high * 65536) * 1e6 + Math.round((value - whole) * 1e6);
        const middle = high * 1e6;
        const upper = Math.floor(middle / 65536);
        const lower = (middle - upper * 65536) * 65536 + low;
        halves[2 * at] = lower;
        halves[2 * at + 1] = upper + Math.floor(lower / 4294967296);
      } else if (typeof value === "bigint" && BigInt.asIntN(64, value) === value) val[at] = value;
      else misfit(at, "times: a Date, milliseconds, or nanoseconds as BigInt");
    }
    return { tag: "timestamp", val };
  },
  binary(values, misfit) {
    return { tag: "binary", val: pack(values.map((value, at) => {
      if (absent(value)) return "";
      return value instanceof Uint8Array ? atob(value.toBase64()) : misfit(at, "bytes as Uint8Array") ?? "";
    })) };
  },
  utf8(values, misfit, source) {
    const texts = values.map((value, at) => (typeof value === "string" || absent(value) ? value : misfit(at, "text")));
    return source ? cut(texts, source) : { tag: "utf8", val: pack(texts.map((value) => (value ? toUtf8(value) : ""))) };
  },
};

// Strings of one character a byte, back to back.
function pack(values) {
  const offsets = new Uint32Array(values.length + 1);
  let end = 0;
  for (let at = 0; at < values.length; at++) offsets[at + 1] = end += values[at].length;
  return { offsets, data: Uint8Array.fromBase64(btoa(values.join(""))) };
}

// Text that stands in its row's source as it is goes out as a place and a length: the host cuts, which costs nothing here.
function cut(values, { name, texts, origin, raw }) {
  const { offsets, data } = raw;
  const spans = new Uint32Array(2 * values.length);
  const extra = [];
  let extraEnd = data.length;
  for (let at = 0; at < values.length; at++) {
    const value = values[at];
    if (!value) continue; // a span of length 0 is empty text
    const row = origin[at];
    const text = texts[row];
    const start = offsets[row];
    // A place counts characters, a span bytes: they are the same where every character is one byte.
    const place = text !== null && text.length === offsets[row + 1] - start ? text.indexOf(value) : -1;
    if (place >= 0) {
      spans[2 * at] = start + place;
      spans[2 * at + 1] = value.length;
    } else {
      const bytes = toUtf8(value);
      extra.push(bytes);
      spans[2 * at] = extraEnd;
      spans[2 * at + 1] = bytes.length;
      extraEnd += bytes.length;
    }
  }
  return { tag: "sliced-utf8", val: { of: name, spans, extra: Uint8Array.fromBase64(btoa(extra.join(""))) } };
}

/** What a call that is handed a whole batch makes. */
class Output {
  columns = [];
  errors = [];
  #origin;
  #state;
  #dropped;
  constructor(batch, contract) {
    this.batch = batch;
    this.contract = contract;
  }

  /** A column by name: a value for each row that comes out, null where there is none. The type is the contract's. */
  column(name, values, type = this.contract.writes[name]) {
    if (!type) throw new Error(`column \`${name}\` is not in the contract's \`writes\`, and no type is given`);
    const misfits = new Map();
    this.columns.push(column(name, type, values, misfits));
    for (const [at, why] of misfits) throw new Error(`value ${at}: ${why}`);
  }

  /** The row could not be handled: it becomes a dead letter with this reason. */
  error(row, reason) {
    this.errors.push({ row, message: reasonOf(reason) });
  }

  /** A filter's row that does not go on. */
  drop(row) {
    this.#dropped ??= new Uint8Array(this.batch.rows).fill(1);
    this.#dropped[row] = 0;
  }

  /** For each row that comes out of a parser, the row it came from: where they are more or fewer than came in. */
  origin(rows) {
    this.#origin = rows;
  }

  /** What the next call gets as `context.state`: text or bytes. */
  state(value) {
    this.#state = stateOf(value);
  }

  get answer() {
    const { columns, errors } = this;
    const origin = this.#origin && Uint32Array.from(this.#origin);
    const rows = origin ? origin.length : this.batch.rows - new Set(errors.map((error) => error.row)).size;
    const keep = this.#dropped ?? new Uint8Array(this.batch.rows).fill(1);
    return { rows, columns, origin, errors, keep, state: this.#state };
  }
}

const stateOf = (value) => (typeof value === "string" ? encode(value) : value);

// ---- What was thrown ---------------------------------------------------------------------------------------------------------------

// An Error is a reason that somebody wrote; a TypeError and its like is a mistake in the plugin, of which one wants the line.
function reasonOf(thrown) {
  if (!(thrown instanceof Error)) return String(thrown?.message ?? thrown);
  if (thrown.constructor === Error) return thrown.message;
  const place = placeOf(thrown.stack ?? "");
  return `${thrown.name}: ${thrown.message}${place ? ` (${place})` : ""}`;
}

// `globalThis.tidemillLines` comes from the build: for each line of the bundle, the file and line it was made of.
function placeOf(stack) {
  const { files, lines } = globalThis.tidemillLines ?? { files: [], lines: [] };
  for (const [, line] of stack.matchAll(/:(\d+):\d+\)?\s*$/gm)) {
    const [file, at] = lines[line - 1] ?? [];
    if (file !== undefined && files[file] !== "tidemill.js") return `${files[file]}:${at}`;
  }
}

// ---- The worlds --------------------------------------------------------------------------------------------------------------------

let contract;
let settings;

const contextOf = ({ now, state }) => ({
  settings,
  now: absent(now) ? undefined : milliseconds(now),
  state: state ?? undefined,
});

// A function of a batch, or of each row: what one row throws is that row's error.
function rowByRow(input, each) {
  const batch = new Batch(input, contract.reads);
  const errors = [];
  for (let index = 0; index < batch.rows; index++) {
    try {
      each(batch.row(index), index);
    } catch (thrown) {
      errors.push({ row: index, message: reasonOf(thrown) });
    }
  }
  return { batch, errors };
}

// Objects as columns. A value that does not fit is its row's error, and the row is left out.
function columnsOf(made, origin, errors, batch) {
  const names = new Map(Object.entries(contract.writes));
  const atFault = new Map();
  made.forEach((row, at) => {
    for (const name in row) {
      if (names.has(name) || absent(row[name])) continue;
      if (contract.openSchema) names.set(name, typeOf(name, made));
      else if (!atFault.has(at)) atFault.set(at, `column \`${name}\` is not in the contract's \`writes\``);
    }
  });
  const write = () => [...names].map(([name, type]) => column(name, type, made.map((row) => row[name]), atFault, sourceOf(batch, origin)));
  let columns = write();
  if (atFault.size > 0) {
    const rows = new Map([...atFault].map(([at, why]) => [origin[at], why]));
    rows.forEach((message, row) => errors.push({ row, message }));
    const stay = origin.map((row) => !rows.has(row));
    made = made.filter((_, at) => stay[at]);
    origin = origin.filter((_, at) => stay[at]);
    columns = write();
  }
  return { columns, origin, rows: made.length };
}

// The text that a parser's values were probably cut out of.
function sourceOf(batch, origin) {
  const raw = batch.raw("body");
  return raw && { name: "body", texts: batch.text("body"), raw, origin };
}

// The type of a column that the events name: what all its values have in common, else text.
function typeOf(name, made) {
  const types = new Set(made.map((row) => row[name]).filter((value) => !absent(value)).map(typeOfValue));
  if (types.size === 2 && types.has("int64") && types.has("float64")) return "float64";
  if (types.size === 1) return [...types][0];
  for (const row of made) if (!absent(row[name]) && typeof row[name] !== "string") row[name] = textOf(row[name]);
  return "utf8";
}

function typeOfValue(value) {
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return "int64";
  if (typeof value === "number") return "float64";
  if (value instanceof Date) return "timestamp";
  if (value instanceof Uint8Array) return "binary";
  return typeof value === "string" ? "utf8" : "json";
}

const textOf = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

const WORLDS = {
  parser: (made) => ({
    parsing: {
      parse(input, hostContext) {
        const context = contextOf(hostContext);
        if (made.parse) return whole(made.parse, input, context);
        const rows = [];
        let origin = [];
        let isOneToOne = true;
        const { batch, errors } = rowByRow(input, (row, index) => {
          let answer = made.parseRow(row, context);
          // A generator's rows, as a list of them.
          if (typeof answer === "object" && typeof answer?.[Symbol.iterator] === "function") answer = [...answer];
          if (!absent(answer) && !Array.isArray(answer) && typeof answer === "object") {
            rows.push(columnsIn("parseRow", answer));
            origin.push(index);
            return;
          }
          if (!absent(answer) && !Array.isArray(answer)) throw new Error(`parseRow answered ${shown(answer)}; answer an object, a list of them, or null`);
          isOneToOne = false;
          for (const one of answer ?? []) {
            rows.push(columnsIn("parseRow", one));
            origin.push(index);
          }
        });
        const answer = columnsOf(rows, origin, errors, batch);
        return { ...answer, origin: isOneToOne ? undefined : Uint32Array.from(answer.origin), errors, state: undefined };
      },
    },
  }),
  filter: (made) => ({
    filtering: {
      keep(input, hostContext) {
        const context = contextOf(hostContext);
        if (made.keep) return whole(made.keep, input, context);
        const keep = new Uint8Array(input.rows);
        const { errors } = rowByRow(input, (row, index) => {
          const answer = made.keepRow(row, context);
          if (typeof answer !== "boolean") throw new Error(`keepRow answered ${shown(answer)}; answer true or false`);
          keep[index] = answer ? 1 : 0;
        });
        return { keep, errors, state: undefined };
      },
    },
  }),
  enricher: (made) => ({
    enriching: {
      enrich(input, hostContext) {
        const context = contextOf(hostContext);
        if (made.enrich) return whole(made.enrich, input, context);
        const rows = new Array(input.rows).fill({});
        const { batch, errors } = rowByRow(input, (row, index) => {
          const answer = made.enrichRow(row, context);
          rows[index] = absent(answer) ? {} : columnsIn("enrichRow", answer);
        });
        const origin = rows.map((_, at) => at);
        const answer = columnsOf(rows, origin, errors, batch);
        if (answer.rows < rows.length) {
          // A row at fault has to be there, whatever it holds.
          const full = new Array(rows.length).fill({});
          answer.origin.forEach((row) => (full[row] = rows[row]));
          return { ...columnsOf(full, origin, [], batch), errors, state: undefined };
        }
        return { ...answer, errors, state: undefined };
      },
    },
  }),
  autoscaler: (made) => ({
    autoscaling: {
      decide(request) {
        try {
          const { replicas, reason, state } = made.decide(requestOf(request), { settings });
          if (!Number.isInteger(replicas) || replicas < 0) throw new Error(`decide answered ${shown(replicas)} replicas`);
          return { replicas: Math.min(replicas, 0xffffffff), reason: String(reason ?? ""), state: stateOf(state ?? new Uint8Array(0)) };
        } catch (thrown) {
          throw reasonOf(thrown);
        }
      },
    },
  }),
};

function whole(call, input, context) {
  try {
    const batch = new Batch(input, contract.reads);
    const output = new Output(batch, contract);
    const answer = call(batch, output, context);
    if (typeof answer?.then === "function") throw new TypeError("it is async; a plugin cannot wait, so answer at once");
    return output.answer;
  } catch (thrown) {
    throw reasonOf(thrown);
  }
}

function requestOf({ now, workload, signals, decisions, advice, state }) {
  const members = workload.members.map((one) => ({
    ...one, startedAt: milliseconds(one.startedAt), changedAt: milliseconds(one.changedAt),
  }));
  return {
    now: milliseconds(now),
    workload: { ...workload, members },
    signals: Object.fromEntries(signals.map((signal) => [signal.name, new Signal(signal)])),
    decisions: decisions.map((one) => ({ ...one, at: milliseconds(one.at), proposed: one.proposed ?? undefined })),
    advice: advice.map((one) => ({ ...one, replicas: one.replicas ?? undefined })),
    state,
  };
}

/** One query's latest answer. */
class Signal {
  constructor({ name, freshness, table, message, caughtUpAt }) {
    this.name = name;
    this.freshness = freshness;
    this.table = new Batch(table);
    this.message = message;
    this.caughtUpAt = absent(caughtUpAt) ? undefined : milliseconds(caughtUpAt);
  }

  /** The first row's `value`, or of its only column of numbers; undefined where there is none. */
  get value() {
    const numbers = this.table.names.filter((name) => ["int64", "float64"].includes(this.table.type(name)));
    const name = numbers.includes("value") ? "value" : numbers.length === 1 ? numbers[0] : undefined;
    return (name && this.table.column(name)[0]) ?? undefined;
  }
}

// ---- Lookup tables -----------------------------------------------------------------------------------------------------------------

// What the host refuses comes as an Error with the message in its payload.
function ask(call) {
  try {
    return call();
  } catch (thrown) {
    throw new Error(String(thrown?.payload ?? thrown?.message ?? thrown));
  }
}

function find(call, table, key, keys, want) {
  // Where there is none, a key that no row has.
  const packed = pack(keys.map((value) => toUtf8(absent(value) ? "\0" : String(value))));
  return new Batch({ rows: keys.length, columns: ask(() => call(table, key, packed, want)) });
}

/** Read-only tables that the stage names, a whole column of keys a call: one call a batch, not one a row. */
export const tables = {
  /** The names of a table's columns. */
  columns: (table) => ask(() => hostTables.columns(table)),
  /** For each key the row whose column `key` equals it: a batch of the columns `want`, null where there is no such row. */
  lookup: (table, key, keys, want) => find(hostTables.lookup, table, key, keys, want),
  /** The same for addresses and a column of networks such as `10.0.0.0/8`: of several the narrowest. */
  lookupNetwork: (table, key, addresses, want) => find(hostTables.lookupNetwork, table, key, addresses, want),
};

/** What the component exports: the build calls it with the plugin's module, its world and its folder's name. */
export function component(made, world, folder) {
  const plugin = {
    describe: () => ({ name: String(made.name ?? folder), version: String(made.version ?? "0.1.0"), about: String(made.about ?? "") }),
    configure(json) {
      try {
        settings = readSettings(made.settings ?? {}, json);
        const { reads = [], writes = {}, openSchema = false, keepsState = false, produces = "logs", ...unknown } = made.configure?.(settings) ?? {};
        for (const name of Object.keys(unknown)) {
          throw new Error(`configure answered with \`${name}\`; there are reads, writes, openSchema, keepsState, produces`);
        }
        if (!["logs", "metrics"].includes(produces)) throw new Error(`configure says that it produces \`${produces}\`; there are logs and metrics`);
        for (const [name, type] of Object.entries(writes)) {
          if (!TYPES.includes(type)) throw new Error(`column \`${name}\` is of no type \`${type}\`; there is ${TYPES.join(", ")}`);
        }
        contract = { reads, writes, openSchema, keepsState, produces };
        return { ...contract, writes: Object.entries(writes).map(([name, dataType]) => ({ name, dataType })) };
      } catch (thrown) {
        throw reasonOf(thrown);
      }
    },
  };
  built = true;
  return { plugin, ...WORLDS[world](made) };
}
