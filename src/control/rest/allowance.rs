//! How many requests, or failures, of one address are let through: a bucket that fills at a steady rate.
//!
//! Invariant: what is kept of addresses is bounded; an address that is forgotten begins with a full bucket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Addresses that are kept.
const MOST_ADDRESSES: usize = 4096;

/// A bucket an address.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: f64,
    most: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Allowance {
    /// So many a second, after `most` at once.
    pub(super) fn new(per_second: u32, most: u32) -> Self {
        Self { per_second: per_second.into(), most: most.into(), buckets: Mutex::default() }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long until there is one again.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        let address = network(address);
        if buckets.len() >= MOST_ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| self.filled(*bucket, now) < self.most);
            if buckets.len() >= MOST_ADDRESSES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { left: self.most, at: now });
        bucket.left = self.filled(*bucket, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let grown = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.left + grown).min(self.most)
    }
}

/// What counts as one address: of IPv6 the network, within which everybody has as many as he likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_burst_and_then_its_rate_and_harms_no_other() {
        let (allowance, now) = (Allowance::new(10, 3), Instant::now());
        let [one, other] = ["10.0.0.7", "10.0.0.8"].map(|address| address.parse::<IpAddr>().unwrap());

        let first: Vec<_> = (0..4).map(|_| allowance.take(one, now).is_ok()).collect();

        assert_eq!(first, [true, true, true, false]);
        assert!(allowance.take(other, now).is_ok());
        let wait = allowance.take(one, now).unwrap_err();
        assert_eq!(wait.as_millis(), 100);
        assert!(allowance.take(one, now + wait).is_ok() && allowance.take(one, now + wait).is_err());
    }

    #[test]
    fn hosts_of_one_ipv6_network_and_both_forms_of_an_ipv4_address_are_one() {
        let (allowance, now) = (Allowance::new(1, 1), Instant::now());
        let take = |address: &str| allowance.take(address.parse().unwrap(), now).is_ok();

        assert!(take("2001:db8::1") && !take("2001:db8::2") && take("2001:db8:0:1::1"));
        assert!(take("10.0.0.7") && !take("::ffff:10.0.0.7"));
    }

    #[test]
    fn what_is_kept_of_addresses_is_bounded() {
        let (allowance, now) = (Allowance::new(1, 1), Instant::now());
        for number in 0..3 * u32::try_from(MOST_ADDRESSES).unwrap() {
            allowance.take(IpAddr::from(number.to_be_bytes()), now).unwrap();
        }
        assert!(allowance.buckets.lock().len() <= MOST_ADDRESSES);
    }
}
