//! Flows a second, over the last minute.

/// Seconds that count.
const WINDOW: u64 = 60;
const NANOS: u64 = 1_000_000_000;

/// One counter for each of the last seconds.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    counts: [u64; WINDOW as usize],
    /// Second of the newest counter, since the Unix epoch.
    newest: u64,
    /// Second in which counting began.
    began: Option<u64>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { counts: [0; WINDOW as usize], newest: 0, began: None }
    }
}

impl Rate {
    /// Counts flows at `now`, ns since the Unix epoch.
    pub(crate) fn add(&mut self, count: u64, now: u64) {
        let second = now / NANOS;
        self.began.get_or_insert(second);
        self.forget_until(second);
        self.counts[(self.newest % WINDOW) as usize] += count;
    }

    /// Flows a second up to `now`, over a minute or the time since the first one.
    pub(crate) fn per_second(&self, now: u64) -> f64 {
        let second = now / NANOS;
        let Some(began) = self.began else { return 0.0 };
        let mut current = self.clone();
        current.forget_until(second);
        let span = (second.saturating_sub(began) + 1).min(WINDOW);
        current.counts.iter().sum::<u64>() as f64 / span as f64
    }

    /// Empties the counters of the seconds between the newest one and this one. A clock that goes back counts into the
    /// newest second.
    fn forget_until(&mut self, second: u64) {
        if second.saturating_sub(self.newest) >= WINDOW {
            self.counts = [0; WINDOW as usize];
        } else {
            for passed in self.newest + 1..=second {
                self.counts[(passed % WINDOW) as usize] = 0;
            }
        }
        self.newest = self.newest.max(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_counts() {
        let at = |second: u64| (1_700_000_000 + second) * NANOS;
        let mut rate = Rate::default();
        assert!(rate.per_second(at(0)).abs() < 1e-9);
        rate.add(120, at(0));
        assert!((rate.per_second(at(1)) - 60.0).abs() < 1e-9, "two seconds so far");
        rate.add(60, at(30));
        assert!((rate.per_second(at(59)) - 3.0).abs() < 1e-9);
        assert!((rate.per_second(at(60)) - 1.0).abs() < 1e-9, "the first second is out");
        assert!(rate.per_second(at(1000)).abs() < 1e-9);
        rate.add(60, at(29));
        assert!((rate.per_second(at(59)) - 4.0).abs() < 1e-9, "a clock that goes back loses nothing");
    }
}
