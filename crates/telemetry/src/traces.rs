//! The latest traces in fixed memory: the oldest make room for new ones.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::span::{Span, TraceId};

/// Spans kept of one trace; more are counted and left out.
pub const SPANS_OF_TRACE_MAX: usize = 512;

/// Limits of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub traces: usize,
    /// Bytes of all spans together.
    pub bytes: usize,
}

#[derive(Debug)]
pub struct Traces {
    limits: Limits,
    by_id: HashMap<TraceId, Trace>,
    /// In the order in which their first span came.
    order: VecDeque<TraceId>,
    /// Services, each with the number of traces that it took part in; spans share these names.
    services: BTreeMap<Arc<str>, usize>,
    bytes: usize,
    counts: Counts,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Its spans in the order in which they came.
    pub spans: Vec<Span>,
    /// Spans that found no room.
    pub left_out: u64,
    bytes: usize,
    /// What searches look at, kept up with every span.
    start_ns: u64,
    end_ns: u64,
    failed: bool,
    /// Sorted by their names.
    services: Vec<Arc<str>>,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans taken in.
    pub spans: u64,
    /// Spans without room in their trace.
    pub dropped: u64,
    /// Traces that made room.
    pub evicted: u64,
}

/// What a search asks for; everything by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// A span is of this service.
    pub service: Option<String>,
    /// The whole trace took at least so long.
    pub duration_ns_min: u64,
    /// A span failed.
    pub failed_only: bool,
    /// At most so many, the newest.
    pub limit: usize,
}

/// A trace in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub id: TraceId,
    /// Service and name of the span that began it.
    pub root: (Arc<str>, Box<str>),
    /// Services that took part, sorted.
    pub services: Vec<Arc<str>>,
    /// Start, in nanoseconds since 1970.
    pub start_ns: u64,
    /// From the first start to the last end.
    pub duration_ns: u64,
    pub spans: usize,
    /// Whether any of them failed.
    pub failed: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            traces: 10_000,
            bytes: 64 << 20,
        }
    }
}

// === impl Traces ===

impl Traces {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_id: HashMap::new(),
            order: VecDeque::new(),
            services: BTreeMap::new(),
            bytes: 0,
            counts: Counts::default(),
        }
    }

    /// Takes in a span.
    pub fn add(&mut self, mut span: Span) {
        self.counts.spans += 1;
        let (id, bytes) = (span.trace, span.bytes());
        let trace = self.by_id.entry(id).or_insert_with(|| {
            self.order.push_back(id);
            Trace::default()
        });
        if trace.spans.len() >= SPANS_OF_TRACE_MAX {
            trace.left_out += 1;
            self.counts.dropped += 1;
            return;
        }
        if let Some((known, _)) = self.services.get_key_value(&span.service) {
            span.service = known.clone();
        }
        if let Err(place) = trace.services.binary_search(&span.service) {
            trace.services.insert(place, span.service.clone());
            *self.services.entry(span.service.clone()).or_default() += 1;
        }
        trace.take(span, bytes);
        self.bytes += bytes;
        while self.order.len() > self.limits.traces || (self.bytes > self.limits.bytes && self.order.len() > 1) {
            self.evict();
        }
    }

    /// A trace by its id.
    pub fn get(&self, id: TraceId) -> Option<&Trace> {
        self.by_id.get(&id)
    }

    /// Traces that a query asks for, the newest first.
    pub fn search(&self, query: &Query) -> Vec<Summary> {
        let newest = self.order.iter().rev().filter_map(|id| Some((id, self.by_id.get(id)?)));
        let fitting = newest.filter(|(_, trace)| trace.fits(query)).take(query.limit);
        fitting.filter_map(|(id, trace)| trace.summary(*id)).collect()
    }

    /// Services of the traces that are kept, sorted.
    pub fn services(&self) -> Vec<Arc<str>> {
        self.services.keys().cloned().collect()
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of the spans that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Traces that are kept.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn evict(&mut self) {
        let Some(trace) = self.order.pop_front().and_then(|id| self.by_id.remove(&id)) else {
            return;
        };
        self.bytes -= trace.bytes;
        self.counts.evicted += 1;
        for service in trace.services {
            if let Some(count) = self.services.get_mut(&service) {
                *count -= 1;
                if *count == 0 {
                    self.services.remove(&service);
                }
            }
        }
    }
}

// === impl Trace ===

impl Trace {
    fn take(&mut self, span: Span, bytes: usize) {
        let end_ns = span.start_ns.saturating_add(span.duration_ns);
        let first = self.spans.is_empty();
        self.start_ns = if first {
            span.start_ns
        } else {
            self.start_ns.min(span.start_ns)
        };
        self.end_ns = self.end_ns.max(end_ns);
        self.failed |= span.failed;
        self.bytes += bytes;
        self.spans.push(span);
    }

    fn fits(&self, query: &Query) -> bool {
        let by_service = |service: &String| self.services.binary_search_by(|own| (**own).cmp(service)).is_ok();
        self.end_ns - self.start_ns >= query.duration_ns_min
            && (self.failed || !query.failed_only)
            && query.service.as_ref().is_none_or(by_service)
    }

    /// The trace in one line; `None` without spans.
    pub fn summary(&self, id: TraceId) -> Option<Summary> {
        let root = (self.spans.iter())
            .min_by_key(|span| (span.parent.is_some(), span.start_ns))
            .map(|span| (span.service.clone(), span.name.clone()))?;
        Some(Summary {
            id,
            root,
            services: self.services.clone(),
            start_ns: self.start_ns,
            duration_ns: self.end_ns - self.start_ns,
            spans: self.spans.len(),
            failed: self.failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::span::SpanKind;

    fn span(trace: u128, id: u64, parent: Option<u64>, service: &str) -> Span {
        Span {
            trace: TraceId(trace),
            id,
            parent,
            service: service.into(),
            name: "call".into(),
            kind: SpanKind::Server,
            start_ns: id * 10,
            duration_ns: 5,
            failed: service == "broken",
            attributes: Vec::new(),
        }
    }

    #[test]
    fn searches_find_what_they_ask_for() {
        let mut traces = Traces::new(Limits::default());
        traces.add(span(1, 2, Some(1), "b"));
        traces.add(span(1, 1, None, "a"));
        traces.add(span(2, 3, None, "broken"));
        let ids = |query: &Query| {
            let found = traces.search(query);
            found.iter().map(|summary| summary.id.0).collect::<Vec<_>>()
        };
        let all = || Query {
            limit: 10,
            ..Query::default()
        };
        for (query, expected) in [
            (all(), vec![2, 1]),
            (Query { limit: 1, ..all() }, vec![2]),
            (
                Query {
                    service: Some("b".to_owned()),
                    ..all()
                },
                vec![1],
            ),
            (
                Query {
                    failed_only: true,
                    ..all()
                },
                vec![2],
            ),
            (
                Query {
                    duration_ns_min: 6,
                    ..all()
                },
                vec![1],
            ),
        ] {
            assert_eq!(ids(&query), expected, "{query:?}");
        }
        let first = traces
            .get(TraceId(1))
            .and_then(|trace| trace.summary(TraceId(1)))
            .unwrap();
        assert_eq!(
            (&*first.root.0, first.start_ns, first.duration_ns, first.spans),
            ("a", 10, 15, 2)
        );
    }

    #[test]
    fn a_trace_without_end_is_cut() {
        let mut traces = Traces::new(Limits::default());
        for id in 1..=SPANS_OF_TRACE_MAX as u64 + 3 {
            traces.add(span(1, id, None, "a"));
        }
        let trace = traces.get(TraceId(1)).unwrap();
        assert_eq!(
            (trace.spans.len(), trace.left_out, traces.counts().dropped),
            (SPANS_OF_TRACE_MAX, 3, 3)
        );
    }

    proptest! {
        #[test]
        fn limits_hold_and_the_newest_stay(adds in prop::collection::vec((1_u128..40, 1_u64..1000, 0_usize..2000, 0_u8..6), 1..300)) {
            let limits = Limits { traces: 10, bytes: 20_000 };
            let mut traces = Traces::new(limits);
            let mut model: Vec<(u128, Vec<usize>)> = Vec::new();
            for (trace, id, size, service) in adds {
                let mut added = span(trace, id, None, &format!("s{service}"));
                added.attributes.push(("k".into(), "v".repeat(size).into()));
                let bytes = added.bytes();
                traces.add(added);
                match model.iter_mut().find(|(known, _)| *known == trace) {
                    Some((_, sizes)) => sizes.push(bytes),
                    None => model.push((trace, vec![bytes])),
                }
                let total = |model: &[(u128, Vec<usize>)]| model.iter().flat_map(|(_, sizes)| sizes).sum::<usize>();
                while model.len() > limits.traces || (total(&model) > limits.bytes && model.len() > 1) {
                    model.remove(0);
                }
                prop_assert_eq!(traces.bytes(), total(&model));
                prop_assert_eq!(traces.len(), model.len());
                let kept = || traces.by_id.values().flat_map(|trace| &trace.spans);
                let named: std::collections::BTreeSet<Arc<str>> = kept().map(|span| span.service.clone()).collect();
                prop_assert_eq!(traces.services(), named.into_iter().collect::<Vec<_>>());
                for summary in traces.search(&Query { limit: usize::MAX, ..Query::default() }) {
                    let of_trace = || kept().filter(|span| span.trace == summary.id);
                    prop_assert_eq!(Some(summary.start_ns), of_trace().map(|span| span.start_ns).min());
                    let end = of_trace().map(|span| span.start_ns + span.duration_ns).max();
                    prop_assert_eq!(Some(summary.start_ns + summary.duration_ns), end);
                }
                prop_assert!(model.iter().all(|(known, sizes)| traces.get(TraceId(*known)).is_some_and(|t| t.spans.len() == sizes.len())));
            }
        }
    }
}
