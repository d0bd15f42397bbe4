//! numbers as Kubernetes writes them: `12`, `12500m`, `80n`
//!
//! The API's quantities in their canonical form have no fraction and nothing finer than nano. What is finer is rounded up, as
//! the API itself does, so that nothing that is there becomes 0.

/// Beyond this a quantity does not fit the 64 bits that its readers use.
const MOST: f64 = 9e18;

/// A number as a quantity; nothing where a quantity cannot hold it.
pub fn quantity(number: f64) -> Option<String> {
    if !number.is_finite() || number.abs() > MOST {
        return None;
    }
    let scales = [(1.0, ""), (1e3, "m"), (1e6, "u"), (1e9, "n")];
    let fits =
        scales.iter().map(|(scale, suffix)| (number * scale, *suffix)).filter(|(scaled, _)| scaled.abs() <= MOST);
    let fits: Vec<(f64, &str)> = fits.collect();
    let (scaled, suffix) = fits.iter().find(|(scaled, _)| scaled.fract() == 0.0).or(fits.last())?;
    let whole = scaled.ceil();
    // There is no negative zero among quantities.
    Some(if whole == 0.0 { "0".to_owned() } else { format!("{whole:.0}{suffix}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_quantities() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (5.0, "5"),
            (-5.0, "-5"),
            (100_000.0, "100000"),
            (12.5, "12500m"),
            (0.25, "250m"),
            (1.0 / 3.0, "333333334n"),
            (1e-12, "1n"),
            (-1e-12, "0"),
            (1e18, "1000000000000000000"),
        ] {
            assert_eq!(quantity(number).as_deref(), Some(expected), "{number}");
        }
        for number in [f64::NAN, f64::INFINITY, 1e19, -1e300] {
            assert_eq!(quantity(number), None, "{number}");
        }
    }
}
