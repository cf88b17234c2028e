//! The buckets of one configuration: one for all requests, and one for each descriptor.

use std::sync::Arc;

use parking_lot::Mutex;

use super::bucket::{Bucket, Filling};

/// What a request is, in the words of the configuration: keys with values, in order.
pub type Descriptor = Vec<(Arc<str>, Arc<str>)>;

#[derive(Debug)]
pub struct Limiter {
    default: Option<Arc<Bucket>>,
    /// Those that fill up slowest first.
    described: Vec<Described>,
    always_default: bool,
    /// Most buckets for values that are not named.
    dynamic_max: usize,
}

/// A descriptor that has a bucket of its own.
#[derive(Debug)]
struct Described {
    /// A key without a value stands for any, each with a bucket.
    entries: Vec<(Arc<str>, Option<Arc<str>>)>,
    bucket: Arc<Bucket>,
    /// Buckets of values that are not named, the one used last at the end. Only requests that fit take the lock.
    dynamic: Mutex<Vec<(Descriptor, Arc<Bucket>)>>,
}

/// What becomes of a request.
#[derive(Debug)]
pub struct Verdict {
    /// Whether it may go on.
    pub allowed: bool,
    /// The bucket that counts for what the client is told.
    pub bucket: Option<Arc<Bucket>>,
}

/// A descriptor as configured.
pub type Configured = (Vec<(Arc<str>, Option<Arc<str>>)>, Filling);

// === impl Limiter ===

impl Limiter {
    /// Full buckets. With `always_default` requests that have a descriptor's bucket take from that of all as well.
    pub fn new(default: Option<Filling>, described: Vec<Configured>, always_default: bool, dynamic_max: usize) -> Self {
        let mut described: Vec<Described> = described
            .into_iter()
            .map(|(entries, filling)| Described {
                entries,
                bucket: Arc::new(Bucket::new(filling)),
                dynamic: Mutex::default(),
            })
            .collect();
        described.sort_by(|a, b| a.bucket.filling().rate.total_cmp(&b.bucket.filling().rate));
        Self {
            default: default.map(|filling| Arc::new(Bucket::new(filling))),
            described,
            always_default,
            dynamic_max,
        }
    }

    /// Takes tokens for a request.
    pub fn take(&self, descriptors: &[Descriptor], now: f64) -> Verdict {
        let mut first = None;
        for described in &self.described {
            let Some(descriptor) = descriptors.iter().find(|descriptor| described.fits(descriptor)) else {
                continue;
            };
            let bucket = described.bucket(descriptor, self.dynamic_max);
            if !bucket.take(now) {
                return Verdict {
                    allowed: false,
                    bucket: Some(bucket),
                };
            }
            first.get_or_insert(bucket);
        }
        if let Some(default) = self.default.as_ref().filter(|_| first.is_none() || self.always_default)
            && !default.take(now)
        {
            return Verdict {
                allowed: false,
                bucket: Some(default.clone()),
            };
        }
        Verdict {
            allowed: true,
            bucket: first.or_else(|| self.default.clone()),
        }
    }
}

// === impl Described ===

impl Described {
    fn fits(&self, descriptor: &Descriptor) -> bool {
        let mut pairs = self.entries.iter().zip(descriptor);
        self.entries.len() == descriptor.len()
            && pairs.all(|((key, value), (its_key, its_value))| {
                key == its_key && value.as_ref().is_none_or(|value| value == its_value)
            })
    }

    /// Its bucket, or the one of these values; of too many values the one that was used longest ago is forgotten.
    fn bucket(&self, descriptor: &Descriptor, dynamic_max: usize) -> Arc<Bucket> {
        if self.entries.iter().all(|(_, value)| value.is_some()) {
            return self.bucket.clone();
        }
        let mut dynamic = self.dynamic.lock();
        let known = dynamic.iter().position(|(known, _)| known == descriptor);
        let entry = match known {
            Some(at) => dynamic.remove(at),
            None => (descriptor.clone(), Arc::new(Bucket::new(self.bucket.filling()))),
        };
        if dynamic.len() >= dynamic_max.max(1) {
            dynamic.remove(0);
        }
        let bucket = entry.1.clone();
        dynamic.push(entry);
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filling(tokens_max: u32) -> Filling {
        Filling {
            tokens_max,
            rate: f64::from(tokens_max) / 3600.0,
        }
    }

    fn descriptor(value: &str) -> Vec<Descriptor> {
        vec![vec![("k".into(), value.into())]]
    }

    #[test]
    fn descriptors_have_their_own_tokens() {
        let named = (vec![("k".into(), Some("a".into()))], filling(1));
        let any = (vec![("k".into(), None)], filling(2));
        let limiter = Limiter::new(Some(filling(5)), vec![any, named], false, 2);
        for (value, allowed) in [
            ("a", true),
            ("a", false),
            ("b", true),
            ("b", true),
            ("b", false),
            ("c", true),
            ("d", true),
            // Forgotten, and so full again.
            ("b", true),
        ] {
            assert_eq!(limiter.take(&descriptor(value), 0.0).allowed, allowed, "{value}");
        }
        let others = (0..6)
            .map(|_| limiter.take(&[], 0.0).allowed)
            .filter(|allowed| *allowed);
        assert_eq!(others.count(), 5);
    }
}
