// What authors get wrong, by the number in `status`: each is an error that says what to do. Its name is its folder's.
export function configure() {
  return { reads: ["status", "http.*"], writes: { answer: "utf8" } };
}

const STARTED = Date.now();

const WRONG = {
  1: () => String(Date.now()),
  2: () => String(new Date()),
  3: () => String(performance.now()),
  4: (row) => row.path,
  5: ({ path }) => path,
  6: (row) => String(row["http.method"]),
  8: () => `${STARTED > 0} ${new Date(2026, 0, 31).constructor === Date} ${new Date(1) instanceof Date}`,
  7: (row) => `${new Date(0).toISOString()} ${JSON.stringify(row)} ${row}`,
};

export function enrichRow(row) {
  return { answer: WRONG[row.status](row) };
}
