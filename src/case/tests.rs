//! cases that are wrong, and cases that are brought up to date

use super::cell::Cell;
use super::*;

fn refused(text: &str) -> String {
    Case::read(text).err().map(|error| error.to_string()).unwrap_or_else(|| panic!("taken: {text}"))
}

#[test]
fn a_mistake_in_a_case_says_where_it_is() {
    let tick = "[[ticks]]\nrequest = { now = \"2026-01-31T12:00:00Z\", replicas = 2, signals = { rps =";
    let wrong = [
        ("about = 1\nrows = []", "`about` has to be text"),
        ("abuot = \"x\"", "unknown key `abuot`; did you mean `about`?"),
        ("about = \"x\"", "there is nothing to run: write [[rows]], [[ticks]] or `refused`"),
        ("refused = \"x\"\nrows = []", "a case has one of `refused`, [[rows]], [[batches]] and [[ticks]]"),
        ("rows = [{ out = {} }]", "row 1: `in = {..}` is missing"),
        ("rows = [{ in = {}, keep = true, error = \"x\" }]", "row 1: a row has one of"),
        ("rows = [{ in = {}, keep = 1 }]", "row 1: `keep` is true or false"),
        ("rows = [{ in = {} }, { in = {}, outt = {} }]", "row 2: unknown key `outt`; did you mean `out`?"),
        ("rows = [{ in = { source = \"x\" } }]", "`source` cannot be given"),
        ("rows = [{ in = {}, out = { timestamp = \"noon\" } }]", "`noon` is no time; write RFC 3339"),
        ("rows = [{ in = {}, out = { x = [1] } }]", "`x` is a list; write text"),
        ("rows = [{ in = {}, out = { x = { hex = \"f\" } } }]", "two digits a byte"),
        ("now = \"noon\"\nrows = []", "now: `noon` is no time"),
        ("rows = []\n[tables.a]\ncvs = \"x\"", "tables.a: unknown key `cvs`; did you mean `csv`?"),
        ("[[ticks]]\nrequest = { now = \"2026-01-31T12:00:00Z\" }", "tick 1: request: `replicas` is missing"),
        (&format!("{tick} {{ valu = 1 }} }} }}"), "signal `rps`: unknown key `valu`; did you mean `value`?"),
        (&format!("{tick} 1 }} }}"), "signal `rps`: write one of value, stale"),
        ("rows = [", "TOML parse error at line 1"),
    ];
    for (text, says) in wrong {
        let said = refused(text);
        assert!(said.contains(says), "{text}\n{said}\n{says}");
    }
}

#[test]
fn text_stands_for_times_and_bytes_and_a_float_is_no_integer() {
    let text = |text: &str| Cell::Text(text.into());
    assert_eq!(Cell::Time(1_000_000_000), text("1970-01-01T01:00:01+01:00"));
    assert_eq!(Cell::Bytes(b"a".to_vec()), text("a"));
    assert_eq!(Cell::Float(f64::NAN), Cell::Float(f64::NAN));
    assert_ne!(Cell::Float(0.0), Cell::Float(-0.0));
    assert_ne!(Cell::Float(1.0), Cell::Int(1));
    assert_eq!(Cell::Bytes(vec![0xff]).to_string(), "{ hex = \"ff\" }");
}

#[test]
fn what_came_is_written_in_place_and_comments_stay() {
    let text = "\
# about this case
about = \"x\" # here
[[rows]]
in = { body = \"a\" }
out = { a = 1, b = 2, c = 3 } # why

# the second
[[rows]]
in = { body = \"b\" }
error = \"no\"

[[rows]]
in = { body = \"c\" }
";
    let cells = |name: &str, cell| Cells::from([(name.to_owned(), cell)]);
    let change =
        |row, outcome| Failure { place: Place::Row(row), shown: String::new(), change: Some(Change::Outcome(outcome)) };
    let failures = [
        change(0, Outcome::Rows(vec![Cells::from([("labels.a".into(), Cell::Int(2)), ("b".into(), Cell::Int(4))])])),
        change(1, Outcome::Rows(vec![cells("b", Cell::Text("x\"".into()))])),
        change(2, Outcome::Rows(Vec::new())),
    ];
    let expected = "\
# about this case
about = \"x\" # here
[[rows]]
in = { body = \"a\" }
out = { b = 4, \"labels.a\" = 2 } # why

# the second
[[rows]]
in = { body = \"b\" }
out = { b = 'x\"' }

[[rows]]
in = { body = \"c\" }
outs = []
";
    assert_eq!(rewritten(text, &failures).unwrap(), expected);
    let inline = "rows = [\n    { in = { a = 1 }, keep = true }, # one\n    { in = { a = 2 } },\n]\n";
    let failures = [change(0, Outcome::Keep(false)), change(1, Outcome::Error("no".into()))];
    let expected =
        "rows = [\n    { in = { a = 1 }, keep = false }, # one\n    { in = { a = 2 }, error = \"no\" },\n]\n";
    assert_eq!(rewritten(inline, &failures).unwrap(), expected);
    let tick = "[[ticks]]\nrequest = {}\nproposal = { replicas = 1 }\n";
    let answer = Answer::Proposal { replicas: 2, reason: Some("because".into()) };
    let failure = Failure { place: Place::Tick(0), shown: String::new(), change: Some(Change::Answer(answer)) };
    let expected = "[[ticks]]\nrequest = {}\nproposal = { replicas = 2, reason = \"because\" }\n";
    assert_eq!(rewritten(tick, &[failure]).unwrap(), expected);
}
