//! addresses: of mail, IPv4, IPv6

use std::net::Ipv6Addr;

use memchr::memchr2_iter;

use crate::find::is_word;

/// RFC 5321: 64 bytes before the `@`, 255 behind it.
const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 255;

/// Mail addresses, also with `%40` for the `@`, as they stand in URLs.
pub fn emails(text: &[u8], found: &mut impl FnMut(usize, usize)) {
    for at in memchr2_iter(b'@', b'%', text) {
        let width = match text.get(at..at + 3) {
            Some(b"%40") => 3,
            _ if text.get(at) == Some(&b'@') => 1,
            _ => continue,
        };
        if let Some((start, end)) = email(text, at, width) {
            found(start, end);
        }
    }
}

fn email(text: &[u8], at: usize, width: usize) -> Option<(usize, usize)> {
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-'".contains(byte);
    let before = &text[at.saturating_sub(LOCAL_BYTES_MAX + 1)..at];
    let local = before.iter().rev().take_while(|byte| is_local(byte)).count();
    let local = &before[before.len() - local..];
    let skipped = local.iter().take_while(|byte| b"._-'+".contains(byte)).count();
    let local = &local[skipped..];
    if local.is_empty() || local.len() > LOCAL_BYTES_MAX || local.ends_with(b".") {
        return None;
    }
    // In a URL the address may stand behind another escape: `to%3Dada%40example.com`.
    let start = at - local.len();
    let escaped =
        start > 0 && text[start - 1] == b'%' && local.len() > 2 && local[..2].iter().all(u8::is_ascii_hexdigit);
    let start = if escaped { start + 2 } else { start };

    let after = &text[at + width..];
    let is_domain = |byte: &&u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let length = after.iter().take(DOMAIN_BYTES_MAX).take_while(is_domain).count();
    let trimmed = after[..length].iter().rev().take_while(|byte| b".-".contains(byte)).count();
    let domain = &after[..length - trimmed];
    is_domain_name(domain).then(|| (start, at + width + domain.len()))
}

/// Labels between dots, and letters in the last one. `2x.png`, as in `logo@2x.png`, is none.
fn is_domain_name(domain: &[u8]) -> bool {
    let labels: Vec<&[u8]> = domain.split(|byte| *byte == b'.').collect();
    let [first, .., last] = labels.as_slice() else { return false };
    let is_scale = matches!(first, [digits @ .., b'x'] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    let well_formed = |label: &&[u8]| !label.is_empty() && !label.starts_with(b"-") && !label.ends_with(b"-");
    let top = last.len() >= 2 && last.iter().all(u8::is_ascii_alphabetic) || last.starts_with(b"xn--");
    !is_scale && top && labels.iter().all(well_formed)
}

/// IPv4 addresses. A version, as in `Chrome/126.0.0.0`, is none.
pub fn ipv4s(text: &[u8], found: &mut impl FnMut(usize, usize)) {
    let mut from = 0;
    while let Some(offset) = text[from..].iter().position(u8::is_ascii_digit) {
        let start = from + offset;
        let length = text[start..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        from = start + length;
        let run = &text[start..from];
        let run = run.strip_suffix(b".").unwrap_or(run);
        let before = start.checked_sub(1).and_then(|at| text.get(at));
        let is_version = before == Some(&b'/') && is_word(start.checked_sub(2).and_then(|at| text.get(at)));
        let apart = !is_word(before) && before != Some(&b'.') && before != Some(&b'-') && !is_word(text.get(from));
        if apart && !is_version && is_ipv4(run) {
            found(start, start + run.len());
        }
    }
}

fn is_ipv4(run: &[u8]) -> bool {
    let is_octet = |part: &[u8]| {
        let value = part
            .iter()
            .try_fold(0u32, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0')));
        (1..=3).contains(&part.len()) && (part.len() == 1 || part[0] != b'0') && value.is_some_and(|value| value < 256)
    };
    run.len() <= 15 && run.split(|byte| *byte == b'.').count() == 4 && run.split(|byte| *byte == b'.').all(is_octet)
}

/// IPv6 addresses. A time (`12:30:45`), a MAC address and `Cafe::Dead` are none.
pub fn ipv6s(text: &[u8], found: &mut impl FnMut(usize, usize)) {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':';
    let mut from = 0;
    while let Some(offset) = text[from..].iter().position(is_part) {
        let start = from + offset;
        let length = text[start..].iter().take_while(|byte| is_part(byte)).count();
        from = start + length;
        let mut run = &text[start..from];
        // A colon behind an address ends it, as in `2001:db8::1: refused`; `::` belongs to it.
        if run.ends_with(b":") && !run.ends_with(b"::") {
            run = &run[..run.len() - 1];
        }
        let before = start.checked_sub(1).and_then(|at| text.get(at));
        let apart = !is_word(before) && before != Some(&b'.') && !is_word(text.get(from));
        let enough = run.len() >= 3 && run.len() <= 39 && run.iter().filter(|byte| **byte == b':').count() >= 2;
        let parses = || std::str::from_utf8(run).is_ok_and(|run| run.parse::<Ipv6Addr>().is_ok());
        if apart && enough && run.iter().any(u8::is_ascii_digit) && parses() {
            found(start, start + run.len());
        }
    }
}
