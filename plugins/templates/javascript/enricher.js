// The class of an HTTP status beside it: 404 is `4xx`.
//
//     status ─► status_class
//
// A plugin is handed rows and hands columns to add back. It sees nothing else: no files, no network, no clock.
export const name = "{{name}}";
export const version = "0.1.0";
export const about = "The class of an HTTP status";

// The stage's `settings` and their defaults. A key that is not here is refused by name.
export const settings = { field: "status" };

// Checks the settings, and says what is read and what is written. Only columns named in `reads` are handed over.
export function configure({ field }) {
  if (field === "") throw new Error("`field` is empty; name the column with the status");
  return { reads: [field], writes: { status_class: "utf8" } };
}

// The columns to add to one row. What is thrown is the reason in `tidemill.dead_letters`.
export function enrichRow(row, { settings: { field } }) {
  const status = row[field];
  if (status === null || status === undefined) return {};
  if (status < 100 || status > 599) throw new Error(`\`${field}\` is ${status}, which is no HTTP status`);
  return { status_class: `${Math.floor(status / 100)}xx` };
}
