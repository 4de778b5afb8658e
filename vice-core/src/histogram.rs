//! The one histogram of latencies: eight buckets to each doubling, so that neighbours differ by 6.7 to 12.5 % and 30 %
//! more is two buckets away. The front end counts in it, and so do probes, which makes their thresholds the same.

/// How many buckets there are: one below 128 µs, eight to each doubling up to 134 s, and one for everything slower.
pub const LATENCY_BUCKETS: usize = 1 + OCTAVES * PER_OCTAVE + 1;

/// The exponent of the first edge: 2^7 µs.
const FIRST_EXPONENT: u32 = 7;

const OCTAVES: usize = 20;
const PER_OCTAVE: usize = 8;

/// The bucket of a time in microseconds.
#[must_use]
pub fn latency_bucket(micros: u64) -> usize {
    let Some(exponent) = micros.checked_ilog2().and_then(|log| log.checked_sub(FIRST_EXPONENT)) else { return 0 };
    let octave = usize::try_from(exponent).unwrap_or(OCTAVES);
    if octave >= OCTAVES {
        return LATENCY_BUCKETS - 1;
    }
    // The three bits after the leading one say which eighth of the octave it is.
    let eighth = (micros >> (exponent + FIRST_EXPONENT - 3)) & 7;
    1 + octave * PER_OCTAVE + usize::try_from(eighth).unwrap_or(0)
}

/// The upper edge of a bucket in microseconds, not part of it; none for the last one.
#[must_use]
pub fn latency_edge(bucket: usize) -> Option<u64> {
    if bucket == 0 {
        return Some(1 << FIRST_EXPONENT);
    }
    let (octave, eighth) = ((bucket - 1) / PER_OCTAVE, (bucket - 1) % PER_OCTAVE);
    (octave < OCTAVES).then(|| (9 + eighth as u64) << (u64::from(FIRST_EXPONENT) - 3 + octave as u64))
}

/// The same edge in seconds, for series and expositions; infinite for the last bucket.
#[must_use]
pub fn latency_edge_seconds(bucket: usize) -> f64 {
    // Edges have at most 28 bits.
    latency_edge(bucket).map_or(f64::INFINITY, |micros| micros as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_below_its_edge_and_not_below_the_one_before() {
        let around =
            (0..28).flat_map(|bit| (0..200_u64).map(move |part| (1_u64 << bit) + ((1_u64 << bit) * part) / 200));
        for micros in around.chain([0, 1, 127, 128, u64::MAX]) {
            let bucket = latency_bucket(micros);
            assert!(bucket < LATENCY_BUCKETS);
            assert!(latency_edge(bucket).is_none_or(|edge| micros < edge), "{micros} in {bucket}");
            let before = bucket.checked_sub(1).and_then(latency_edge);
            assert!(before.is_none_or(|edge| micros >= edge), "{micros} in {bucket}");
        }
        assert_eq!(latency_bucket(u64::MAX), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn edges_grow_by_an_eighth_at_most() {
        let edges: Vec<u64> = (0..LATENCY_BUCKETS).map_while(latency_edge).collect();
        assert_eq!((edges.len(), edges[0], edges[edges.len() - 1]), (LATENCY_BUCKETS - 1, 128, 1 << 27));
        for pair in edges.windows(2) {
            let growth = pair[1] as f64 / pair[0] as f64;
            assert!(growth > 1.06 && growth <= 1.125, "{pair:?}");
        }
    }
}
