//! [`Thinning`]: which collections of cumulative points need not be sent, because a newer one stands for them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::{InstrumentationScope, Key};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;

use crate::encode::{AttributeValue, AttributesView, MetricKind, MetricView};
use crate::process::unique_number;
use crate::spool::Appended;

/// Knows the newest collection of each partition, and which of its interval it stands for.
pub(crate) struct Thinning {
    interval: Duration,
    hasher: RandomState,
    newest: Mutex<HashMap<String, Newest>>,
}

/// The newest collection of a partition.
struct Newest {
    /// The number of its interval.
    interval: u128,
    streams: HashSet<u64>,
    appended: Appended,
}

/// The streams of a collection by partition, noted while it is encoded.
pub(crate) struct Streams {
    resource: u64,
    by_partition: HashMap<String, HashSet<u64>>,
}

impl Thinning {
    /// Keeps the newest collection of each interval, which must not be zero.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, hasher: RandomState::new(), newest: Mutex::default() }
    }

    /// Begins a collection of this resource.
    pub(crate) fn begin(&self, resource: &Resource) -> Streams {
        let mut hasher = self.hasher.build_hasher();
        resource.schema_url().hash(&mut hasher);
        let attributes = resource.iter().map(|(key, value)| (key, AttributeValue::Plain(value)));
        let sum = attributes.fold(0, |sum: u64, attribute| sum.wrapping_add(hash_of(attribute, hasher.clone())));
        Streams { resource: sum, by_partition: HashMap::new() }
    }

    /// Notes the streams of these points of a metric, which are in the partition `key`.
    pub(crate) fn note(
        &self,
        streams: &mut Streams,
        key: &str,
        scope: &InstrumentationScope,
        metric: &dyn MetricView,
        points: Range<usize>,
    ) {
        let resource = streams.resource;
        let streams = match streams.by_partition.get_mut(key) {
            Some(streams) => streams,
            None => streams.by_partition.entry(key.to_owned()).or_default(),
        };
        let kind = metric.kind();
        if is_delta(kind) {
            // Nothing stands for it.
            streams.insert(unique_number());
            return;
        }
        let mut of_metric = self.hasher.build_hasher();
        (resource, scope.name(), scope.version(), scope.schema_url()).hash(&mut of_metric);
        (metric.name(), metric.unit(), metric.description()).hash(&mut of_metric);
        // A view can make several metrics of one instrument.
        let _ = write!(HashText(&mut of_metric), "{kind:?}");
        hash_attributes(scope, &mut of_metric);
        metric.visit_points(points, &mut |point| {
            let mut stream = of_metric.clone();
            hash_attributes(point, &mut stream);
            if kind != MetricKind::Gauge {
                // A stream that begins anew is another one.
                point.start_time().hash(&mut stream);
            }
            streams.insert(stream.finish());
        });
    }

    /// Takes a collection that was appended at `now`. Returns the earlier ones that it stands for: those of its partition
    /// and interval, if it has all of their streams.
    pub(crate) fn superseded(&self, mut streams: Streams, appended: &[Appended], now: SystemTime) -> Vec<Appended> {
        let interval = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() / self.interval.as_nanos();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        // So that it does not grow with the partitions that ever were.
        newest.retain(|_, newest| newest.interval == interval);
        let mut superseded = Vec::new();
        for appended in appended {
            let Some((key, streams)) = streams.by_partition.remove_entry(appended.key()) else { continue };
            let this = Newest { interval, streams, appended: appended.clone() };
            match newest.entry(key) {
                Entry::Vacant(vacant) => drop(vacant.insert(this)),
                Entry::Occupied(mut newest) if this.appended.is_after(&newest.get().appended) => {
                    let earlier = newest.insert(this);
                    if earlier.streams.is_subset(&newest.get().streams) {
                        superseded.push(earlier.appended);
                    }
                }
                // Another thread was faster.
                Entry::Occupied(_) => {}
            }
        }
        superseded
    }
}

fn is_delta(kind: MetricKind) -> bool {
    match kind {
        MetricKind::Gauge => false,
        MetricKind::Sum { temporality, .. }
        | MetricKind::Histogram { temporality }
        | MetricKind::ExponentialHistogram { temporality } => temporality != Temporality::Cumulative,
    }
}

/// Hashes attributes in whatever order they are: the SDK does not keep it.
fn hash_attributes<A: AttributesView + ?Sized>(of: &A, hasher: &mut (impl Hasher + Clone)) {
    let mut sum = 0_u64;
    of.visit_attributes(&mut |key, value| sum = sum.wrapping_add(hash_of((key, value), hasher.clone())));
    sum.hash(hasher);
}

fn hash_of((key, value): (&Key, AttributeValue<'_>), mut hasher: impl Hasher) -> u64 {
    key.as_str().hash(&mut hasher);
    // Numbers with a fraction have no hash.
    let _ = match value {
        AttributeValue::Plain(value) => write!(HashText(&mut hasher), "{value:?}"),
        AttributeValue::Any(value) => write!(HashText(&mut hasher), "{value:?}"),
    };
    hasher.finish()
}

/// Hashes what is written.
struct HashText<'a, H>(&'a mut H);

impl<H: Hasher> Write for HashText<'_, H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collection of these streams in one partition, the `nth` of all, at this second.
    fn collect(thinning: &Thinning, nth: u64, streams: &[u64], second: u64) -> Vec<Appended> {
        let by_partition = HashMap::from([("a".to_owned(), streams.iter().copied().collect())]);
        let streams = Streams { resource: 0, by_partition };
        thinning.superseded(streams, &[of(nth)], UNIX_EPOCH + Duration::from_secs(second))
    }

    fn of(nth: u64) -> Appended {
        Appended::of("a", nth / 3, nth..nth + 1)
    }

    #[test]
    fn the_newest_of_an_interval_stands_for_those_before_it_and_for_none_of_another() {
        let thinning = Thinning::new(Duration::from_secs(60));
        let seconds = [0, 20, 59, 60, 119, 120, 3_600].into_iter().zip(0..);
        let superseded: Vec<_> = seconds.map(|(at, nth)| collect(&thinning, nth, &[1, 2], at)).collect();
        assert_eq!(superseded, [vec![], vec![of(0)], vec![of(1)], vec![], vec![of(3)], vec![], vec![]]);
    }

    #[test]
    fn a_collection_without_all_streams_stands_for_nothing() {
        let thinning = Thinning::new(Duration::from_secs(60));
        assert_eq!(collect(&thinning, 0, &[1, 2], 0), []);
        assert_eq!(collect(&thinning, 1, &[2, 3], 1), []);
        assert_eq!(collect(&thinning, 2, &[1, 2, 3], 2), [of(1)], "the newest of before, not the first");
    }

    #[test]
    fn one_that_was_appended_earlier_stands_for_nothing() {
        let thinning = Thinning::new(Duration::from_secs(60));
        assert_eq!(collect(&thinning, 5, &[1], 0), []);
        assert_eq!(collect(&thinning, 4, &[1], 0), []);
        assert_eq!(collect(&thinning, 6, &[1], 0), [of(5)]);
    }

    #[test]
    fn a_resource_is_known_by_its_attributes_in_any_order() {
        use opentelemetry::KeyValue;

        let thinning = Thinning::new(Duration::from_secs(60));
        let resource = |attributes: [(&'static str, &'static str); 2]| {
            let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
            thinning.begin(&Resource::builder_empty().with_attributes(attributes).build()).resource
        };
        assert_eq!(resource([("a", "1"), ("b", "2")]), resource([("b", "2"), ("a", "1")]));
        assert_ne!(resource([("a", "1"), ("b", "2")]), resource([("a", "2"), ("b", "1")]));
    }

    #[test]
    fn partitions_that_are_gone_are_forgotten() {
        let thinning = Thinning::new(Duration::from_secs(60));
        for key in 0..100 {
            let appended = Appended::of(&key.to_string(), 0, 0..1);
            let by_partition = HashMap::from([(key.to_string(), HashSet::from([1]))]);
            thinning.superseded(Streams { resource: 0, by_partition }, &[appended], UNIX_EPOCH);
        }
        assert_eq!(thinning.newest.lock().unwrap().len(), 100);
        collect(&thinning, 0, &[1], 60);
        assert_eq!(thinning.newest.lock().unwrap().len(), 1);
    }
}
