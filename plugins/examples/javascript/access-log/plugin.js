// Web server access logs in the combined format of nginx and Apache.
//
//     client identity user [time] "request" status bytes "referer" "user agent"  more…
import { decode } from "tidemill";

export const name = "access-log-javascript";
export const version = "0.1.0";
export const about = "nginx and Apache access logs, in JavaScript";

const LINE =
  /^(\S+) \S+ (.+?) \[([^\]]+)\] "([^"\\]*(?:\\.[^"\\]*)*)" (\d{1,15}|-) (\d{1,15}|-) "([^"\\]*(?:\\.[^"\\]*)*)" "([^"\\]*(?:\\.[^"\\]*)*)/s;
const REQUEST = /^([A-Za-z_-]{1,32}) (?:(.+) ([A-Za-z]{1,16}\/[\d.]{1,8})|(\/\S*))$/s;
const ESCAPE = /\\(?:x([0-9a-f]{2})|(["\\nrtbvf]))/gi;
const LETTERS = { n: "\n", r: "\r", t: "\t", b: "\b", v: "\v", f: "\f" };
const MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";

export function configure() {
  return {
    reads: ["body"],
    writes: {
      timestamp: "timestamp", client: "utf8", user: "utf8", method: "utf8", path: "utf8", protocol: "utf8", request: "utf8",
      status: "int64", bytes: "int64", referer: "utf8", user_agent: "utf8",
    },
  };
}

export function parseRow({ body }) {
  const found = LINE.exec(body ?? "");
  if (!found) throw new Error(whatIsWrong(body ?? ""));
  const [, client, user, time, request, status, bytes, referer, agent] = found;
  const parts = REQUEST.exec(request);
  return {
    timestamp: timestamp(time),
    client,
    user: nothing(user),
    method: parts?.[1],
    path: parts ? resolve(parts[2] ?? parts[4]) : undefined,
    protocol: parts?.[3],
    request: parts ? undefined : resolve(request),
    status: status === "-" ? undefined : Number(status),
    bytes: bytes === "-" ? undefined : Number(bytes),
    referer: resolve(referer),
    user_agent: resolve(agent),
  };
}

// The usual mistakes; of another one only where the line begins.
function whatIsWrong(line) {
  if (/^\S+ \S+ .+? \[[^\]]+\] "[^"\\]*(?:\\.[^"\\]*)*" \S+ \S+$/.test(line)) {
    return `byte ${line.length + 1}: the line ends where the referer in double quotes should stand`;
  }
  return `it is no line of the combined format: \`${line.slice(0, 24)}\``;
}

let day = ""; // a cache: lines of one day share the most of their time
let began = 0;

// Milliseconds since 1970 of `17/May/2015:10:05:03 +0000`.
function timestamp(text) {
  const written = text.slice(0, 12) + text.slice(20);
  if (written !== day) {
    const found = /^(\d\d)\/([A-Z][a-z]{2})\/(\d{4}): ([+-])(\d\d)(\d\d)$/.exec(written);
    const month = found ? MONTHS.indexOf(found[2]) / 3 : -1;
    if (!Number.isInteger(month) || month < 0) throw wrong(text);
    const offset = (Number(found[5]) * 60 + Number(found[6])) * (found[4] === "-" ? -60000 : 60000);
    began = Date.UTC(Number(found[3]), month, Number(found[1])) - offset;
    if (new Date(began + offset).getUTCDate() !== Number(found[1])) throw wrong(text);
    day = written;
  }
  const [hour, minute, second] = [twoDigits(text, 12), twoDigits(text, 15), twoDigits(text, 18)];
  if (!(hour < 24 && minute < 60 && second < 61)) throw wrong(text);
  return began + (hour * 3600 + minute * 60 + second) * 1000;
}

const twoDigits = (text, at) => text.charCodeAt(at) * 10 + text.charCodeAt(at + 1) - 528;
const wrong = (text) => new Error(`\`${text.slice(0, 40)}\` is not a time: it is written like \`17/May/2015:10:05:03 +0000\``);
const nothing = (text) => (text === "-" ? undefined : text);

// Escapes of nginx (`\x22`) and Apache (`\"`, `\n`); bytes that are not UTF-8 become U+FFFD. A dash alone is nothing.
function resolve(text) {
  if (text === "-") return undefined;
  if (!text.includes("\\")) return text;
  const bytes = unescape(encodeURIComponent(text));
  const resolved = bytes.replace(ESCAPE, (_, hex, letter) => (hex ? String.fromCharCode(parseInt(hex, 16)) : (LETTERS[letter] ?? letter)));
  return decode(Uint8Array.from(resolved, (byte) => byte.charCodeAt(0)));
}
