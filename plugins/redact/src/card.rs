//! payment cards: their digits, grouped as people write them, with a brand's beginning and a right check digit
//!
//! An order number of sixteen digits passes for a card in one of a hundred cases: one of ten has a right check digit,
//! and one of ten of those a brand's beginning.

use crate::find::is_word;

/// Card numbers: digits alone, or in the groups that stand on a card with one space or hyphen between them.
pub fn cards(text: &[u8], found: &mut impl FnMut(usize, usize)) {
    let mut from = 0;
    while let Some(offset) = text[from..].iter().position(u8::is_ascii_digit) {
        let start = from + offset;
        let end = run_end(text, start);
        from = end;
        let before = start.checked_sub(1).and_then(|at| text.get(at));
        // Parts of a longer name, a fraction or an identifier are none.
        let apart =
            !is_word(before) && !matches!(before, Some(b'.' | b'-')) && !is_word(text.get(end)) && !goes_on(text, end);
        if apart && is_card(&text[start..end]) {
            found(start, end);
        }
    }
}

/// The end of digits with at most one space or hyphen between them.
fn run_end(text: &[u8], start: usize) -> usize {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = start;
    while is_digit(end) || matches!(text.get(end), Some(b' ' | b'-')) && is_digit(end + 1) {
        end += 1;
    }
    end
}

/// A fraction, or an identifier's next part.
fn goes_on(text: &[u8], end: usize) -> bool {
    matches!(text.get(end), Some(b'.' | b'-')) && is_word(text.get(end + 1))
}

fn is_card(run: &[u8]) -> bool {
    if run.len() < 12 || run.len() > 23 {
        return false;
    }
    let groups: Vec<usize> = run.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).collect();
    let separators = run.iter().filter(|byte| !byte.is_ascii_digit());
    let one_kind = separators.clone().all(|separator| Some(separator) == separators.clone().next());
    let grouped = matches!(groups.as_slice(), [_] | [4, 4, 4, 4] | [4, 4, 4, 4, 3] | [4, 6, 5] | [4, 6, 4]);
    let digits: Vec<u8> = run.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
    one_kind && grouped && is_brand(&digits) && has_check_digit(&digits)
}

/// How each brand's numbers begin, and how long they are (ISO/IEC 7812 issuer ranges).
fn is_brand(digits: &[u8]) -> bool {
    let first = |count: usize| digits.iter().take(count).fold(0u32, |number, digit| number * 10 + u32::from(*digit));
    let (two, three, four) = (first(2), first(3), first(4));
    match digits.len() {
        13 => first(1) == 4,
        14 => matches!(two, 36 | 38 | 39) || matches!(three, 300..=305),
        15 => matches!(two, 34 | 37),
        16 => {
            first(1) == 4
                || matches!(two, 51..=55 | 62 | 65)
                || matches!(three, 644..=649)
                || matches!(four, 2221..=2720 | 3528..=3589 | 6011 | 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
        }
        12 | 17 | 18 => matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763),
        19 => first(1) == 4 || matches!(two, 62 | 65) || matches!(four, 6011 | 6304 | 6759 | 6761..=6763),
        _ => false,
    }
}

/// Luhn: every second digit from the end doubled, the digits' sum a multiple of ten.
fn has_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => u32::from(*digit),
            _ => u32::from(*digit) * 2 / 10 + u32::from(*digit) * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}
