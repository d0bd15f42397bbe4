//! what a season looks like, and how the present compares with it
//!
//!     expected(t) = Σ weight(k) × value(t − k × season)  ×  recent level / level of the same time in earlier seasons
//!
//! Recent seasons count more. The comparison is held between a half and the double, so that one odd hour does not rule the next.

/// Seasons that are looked back.
const SEASONS_MAX: i64 = 7;
/// What each season further back counts of the one before it.
const FADING: f64 = 0.6;
/// How far the present is compared, as a share of the season.
const RECENT_SHARE: i64 = 24;

/// Buckets in order of time.
pub struct Profile {
    buckets: Vec<(i64, f64)>,
    season: i64,
}

impl Profile {
    pub fn new(mut buckets: Vec<(i64, f64)>, season: i64) -> Profile {
        buckets.retain(|(_, value)| value.is_finite() && *value >= 0.0);
        buckets.sort_by_key(|(time, _)| *time);
        Profile { buckets, season }
    }

    /// The most from now until the lead is over, or why nobody knows.
    pub fn expect(&self, now: i64, lead: i64) -> Result<f64, String> {
        let (Some((first, _)), Some(step)) = (self.buckets.first(), self.step()) else {
            return Err("history has no two buckets".to_owned());
        };
        if now.saturating_sub(*first) < self.season {
            return Err("history is shorter than a season".to_owned());
        }
        let scale = self.scale(now, step);
        let mut most: Option<f64> = None;
        let mut at = now;
        loop {
            if let Some(usual) = self.usual(at, step) {
                most = Some(most.unwrap_or(0.0).max(usual * scale));
            }
            if at >= now + lead {
                break;
            }
            at = (at + step).min(now + lead);
        }
        most.ok_or_else(|| "history has a gap where the same time of earlier seasons should be".to_owned())
    }

    /// The least distance of two buckets.
    fn step(&self) -> Option<i64> {
        let distances = self.buckets.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|distance| *distance > 0);
        distances.min()
    }

    /// What earlier seasons had at this time.
    fn usual(&self, at: i64, step: i64) -> Option<f64> {
        let (mut sum, mut weights, mut weight) = (0.0, 0.0, 1.0);
        for season in 1..=SEASONS_MAX {
            if let Some(value) = self.value(at - season * self.season, step) {
                sum += weight * value;
                weights += weight;
            }
            weight *= FADING;
        }
        (weights > 0.0).then(|| sum / weights)
    }

    /// How the last whole buckets compare with what is usual then.
    fn scale(&self, now: i64, step: i64) -> f64 {
        let since = now - (self.season / RECENT_SHARE).max(step);
        let recent = self.buckets.iter().filter(|(time, _)| *time >= since - step && *time + step <= now);
        let pairs = recent.filter_map(|(time, value)| Some((*value, self.usual(*time, step)?)));
        let (now, then) = pairs.fold((0.0, 0.0), |(now, then), (value, usual)| (now + value, then + usual));
        if then > 0.0 { (now / then).clamp(0.5, 2.0) } else { 1.0 }
    }

    /// The bucket that holds a time; none where there is a gap.
    fn value(&self, at: i64, step: i64) -> Option<f64> {
        let next = self.buckets.partition_point(|(time, _)| *time <= at);
        let (time, value) = self.buckets.get(next.checked_sub(1)?)?;
        (at - time < step).then_some(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    #[test]
    fn a_sine_of_days_is_known_an_hour_ahead() {
        let load = |hour: i64| 100.0 + 80.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let buckets: Vec<(i64, f64)> = (0..24 * 6).map(|hour| (hour * HOUR, load(hour))).collect();
        let profile = Profile::new(buckets, 24 * HOUR);
        for hour in 24 * 6..24 * 7 {
            let expected = profile.expect(hour * HOUR, HOUR).unwrap();
            let most = load(hour).max(load(hour + 1));
            assert!((expected - most).abs() < 0.2 * most, "hour {hour}: {expected} {most}");
        }
    }

    #[test]
    fn what_is_not_known_is_said() {
        let told = |buckets: Vec<(i64, f64)>| Profile::new(buckets, 24 * HOUR).expect(30 * HOUR, HOUR).unwrap_err();
        assert_eq!(told(Vec::new()), "history has no two buckets");
        assert_eq!(told(vec![(20 * HOUR, 1.0), (21 * HOUR, 1.0)]), "history is shorter than a season");
        assert!(told(vec![(0, 1.0), (HOUR, 1.0), (21 * HOUR, 1.0)]).starts_with("history has a gap"));
    }
}
