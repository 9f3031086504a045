//! The objects of a run: the calls on each volume or snapshot, and in which worlds it may be.

use std::{
    collections::{BTreeSet, HashSet},
    hash::Hash,
    marker::PhantomData,
    ops::Deref,
};

use indexmap::IndexMap;

use super::{
    configurations::{Applied, Calls, Configurations, Verdict},
    names::{Key, Names},
    operation::Operation,
    operations::Operations,
    overlap,
    ruling::{Answer, Mark, Strike, check},
    world::World,
};
use crate::{
    history::{CallId, Lost, Outcome, Request},
    rule,
    spec::RuleId,
};

/// How many calls a finding shows at most, beside the one that created the object.
pub(super) const SHOWN: usize = 8;

/// A kind of object that calls act on, and whose possible states are followed.
pub(super) trait Subject: Clone + Eq + Hash {
    /// What people call it.
    const KIND: &'static str;

    /// The object that a call is about.
    fn key(names: &Names, operation: &Operation) -> Option<Key>;

    /// One that does not exist yet.
    fn absent() -> Self;

    /// One of which the history does not tell where it comes from.
    fn foreign() -> Self;

    /// Whether it does not exist.
    fn is_absent(&self) -> bool;

    /// Whether nothing is known of it at all.
    fn is_unknown(&self) -> bool;

    /// The texts by which it, or what it consists of, is found.
    fn texts(&self, each: &mut dyn FnMut(&str));

    /// The calls that the state goes back to.
    fn calls(&self) -> Vec<CallId>;

    /// Whether it exists and is known by this id.
    fn is_known_as(&self, id: &str) -> bool;

    /// All ways in which the call takes effect in the state.
    fn apply(world: &World, state: &Self, operation: &Operation) -> Applied<Self>;

    /// A state in which a call that was cut off has not taken effect.
    fn cut_off(self, operation: &Operation) -> Self;

    /// The id that a create gives to a new object, and the rule that wants it to be the object's own.
    fn given<'a>(answer: Answer<'a>) -> Option<(RuleId, &'a str)>;

    /// What is assumed after a violation: the driver's word is taken, and nothing else.
    fn after_conviction(object: &Object<Self>, operation: &Operation, answer: Answer<'_>) -> Self;
}

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Object<S> {
    /// Its possible worlds.
    pub(super) worlds: Configurations<S>,
    /// The calls on it, in order.
    pub(super) calls: Vec<CallId>,
    /// Calls that have not been answered.
    pub(super) open: Vec<CallId>,
    /// The position at which the last of them ended.
    pub(super) settled: usize,
}

impl<S: Clone + Eq + Hash> Object<S> {
    /// An object in one state.
    pub(super) fn new(state: S) -> Self {
        Self { worlds: Configurations::new(state), calls: Vec::new(), open: Vec::new(), settled: 0 }
    }

    /// The calls that a finding shows: the first, and the last few up to this one.
    pub(super) fn evidence(&self, last: CallId) -> Vec<CallId> {
        let upto = match self.calls.iter().rposition(|&call| call == last) {
            Some(at) => &self.calls[..=at],
            None => &self.calls,
        };
        let tail = upto.len().saturating_sub(SHOWN);
        let mut shown: Vec<CallId> = upto.first().copied().into_iter().chain(upto[tail..].iter().copied()).collect();
        shown.dedup();
        shown
    }

    /// Forgets the calls that no finding would show and no later call can be held against.
    fn forget_calls(&mut self, operations: &Operations) {
        let count = self.calls.len();
        if count <= 2 * SHOWN {
            return;
        }
        let mut kept: BTreeSet<usize> = (count - SHOWN..count).chain([0]).collect();
        for (at, _) in self.calls.iter().enumerate().filter(|(_, call)| self.open.contains(call)) {
            kept.extend(at.saturating_sub(SHOWN - 1)..=at);
        }
        let pending: HashSet<CallId> = self.worlds.calls().collect();
        kept.extend((0..count).filter(|&at| pending.contains(&self.calls[at])));
        kept.extend(self.compared(operations));
        let mut at = 0;
        self.calls.retain(|_| {
            at += 1;
            kept.contains(&(at - 1))
        });
    }

    /// Where the calls are that later ones may be compared with: what the object was made from, the last deletion, and what was
    /// confirmed of it and then modified.
    fn compared(&self, operations: &Operations) -> Vec<usize> {
        let oldest = self.open.iter().filter_map(|&call| operations.get(call)).map(|one| one.started).min();
        let is_before_all_open = |one: &Operation| oldest.is_none_or(|oldest| one.ended < oldest);
        let (mut compared, mut has_deletion) = (Vec::new(), false);
        let mut confirmed: HashSet<CallId> = HashSet::new();
        let mut changes = Vec::new();
        for (at, one) in self.calls.iter().enumerate().rev().filter_map(|(at, &call)| Some((at, operations.get(call)?)))
        {
            match one.request() {
                Request::CreateVolume(request)
                    if request.volume_content_source.is_some() && one.alike == one.call.id =>
                {
                    compared.push(at);
                }
                Request::DeleteVolume(_) => {
                    if !std::mem::replace(&mut has_deletion, true) {
                        compared.push(at);
                    }
                    changes.push(at);
                }
                Request::ControllerModifyVolume(_) => changes.push(at),
                Request::ValidateVolumeCapabilities(_) if one.is_ok() && !confirmed.contains(&one.alike) => {
                    if is_before_all_open(one) {
                        confirmed.insert(one.alike);
                    }
                    compared.push(at);
                    compared.append(&mut changes);
                }
                _ => {}
            }
        }
        compared
    }

    /// Whether nothing was under way on the object while the call ran, so that it saw the state of now.
    pub(super) fn is_quiet_since(&self, operation: &Operation) -> bool {
        self.open.is_empty() && self.settled < operation.started
    }

    /// Whether nothing but the call itself was under way on the object while it ran.
    pub(super) fn is_alone(&self, operation: &Operation) -> bool {
        self.open.iter().all(|open| *open == operation.call.id) && self.settled < operation.started
    }

    /// Whether all worlds agree, nothing is open, and the predicate holds in them.
    pub(super) fn certainly(&self, holds: impl Fn(&S) -> bool) -> bool {
        !self.worlds.is_exhausted() && !self.worlds.is_busy() && self.worlds.states().all(holds)
    }
}

/// Objects of one kind by their key, in the order in which they were first named.
#[derive(Clone, Debug)]
pub(super) struct Objects<S> {
    objects: IndexMap<Key, Object<S>>,
    /// Where those are that may exist. In a long history most objects are long gone, and nobody asks for them any more.
    living: BTreeSet<usize>,
    /// Whether there may be objects of which the history does not tell.
    in_the_middle: bool,
    /// What is left of objects that were forgotten.
    pub(super) gone: Gone,
}

/// What objects that nobody will ask for any more mean for others.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone {
    /// There were some.
    any: bool,
    /// Ids of some of them certainly belong to nothing.
    pub(super) vanished: bool,
    /// Some of them may exist.
    pub(super) unknown: bool,
    /// What those that do not exist were made from.
    pub(super) made_from: BTreeSet<String>,
    /// What those that may exist were made from.
    pub(super) unknown_from: BTreeSet<String>,
}

/// What an answer showed of the object that it is about.
pub(super) enum Settled {
    /// At least one world explains it; these marks hold in all of those.
    Explained(Vec<Mark>),
    /// No world explains it: why the plainest one does not, then the others.
    Impossible(Strike, Vec<Strike>),
    /// There were too many worlds to follow; for which object.
    Inconclusive(String),
}

impl<S> Deref for Objects<S> {
    type Target = IndexMap<Key, Object<S>>;

    fn deref(&self) -> &Self::Target {
        &self.objects
    }
}

impl<S: Subject> Objects<S> {
    /// None yet. In a history that starts in the middle of things, a name may belong to an object from before.
    pub(super) fn new(in_the_middle: bool) -> Self {
        Self { objects: IndexMap::new(), living: BTreeSet::new(), in_the_middle, gone: Gone::default() }
    }

    /// The object that a call is about.
    pub(super) fn of(&self, names: &Names, operation: &Operation) -> Option<&Object<S>> {
        self.objects.get(&S::key(names, operation)?)
    }

    /// All of them but those of which it is certain that they do not exist.
    pub(super) fn living(&self) -> impl Iterator<Item = (&Key, &Object<S>)> {
        self.living.iter().filter_map(|&at| self.objects.get_index(at))
    }

    /// As [`Objects::of`], to be changed.
    fn of_mut(&mut self, names: &Names, operation: &Operation) -> Option<&mut Object<S>> {
        self.objects.get_mut(&S::key(names, operation)?)
    }

    /// By its key, to be changed.
    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Object<S>> {
        let (at, _, object) = self.objects.get_full_mut(key)?;
        self.living.insert(at);
        Some(object)
    }

    /// A call starts.
    pub(super) fn start(&mut self, names: &Names, operation: &Operation) {
        let Some(key) = S::key(names, operation) else { return };
        let in_the_middle = self.in_the_middle;
        let entry = self.objects.entry(key);
        self.living.insert(entry.index());
        let object = entry.or_insert_with_key(|key| {
            Object::new(match key {
                // An id that nobody gave and nobody made up comes from before the history.
                Key::Id(id) if !operation.invented(id) => S::foreign(),
                Key::Name(_) if in_the_middle => S::foreign(),
                _ => S::absent(),
            })
        });
        let call = operation.call.id;
        object.calls.push(call);
        object.open.push(call);
        object.worlds.start(call);
    }

    /// An id that a create gives belongs to no other object of the kind that exists.
    pub(super) fn told(&mut self, names: &Names, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let (Some((rule, id)), Some(key)) = (S::given(answer), S::key(names, operation)) else { return Vec::new() };
        let has_it = |object: &Object<S>| object.certainly(|state| state.is_known_as(id));
        let taken = self.living().find(|(other, object)| **other != key && has_it(object));
        let taken = taken.map(|(other, _)| other.clone());
        let mut marks = Vec::new();
        check(&mut marks, rule, taken.is_none(), || {
            (
                format!("two {}s have one id", S::KIND),
                format!("an id of its own for each {}", S::KIND),
                format!("{}_id {id:?} for {key} although {} has it", S::KIND, taken.as_ref().unwrap_or(&key)),
            )
        });
        // Whatever is done to that id from now on may be done to either.
        if let Some(object) = taken.and_then(|taken| self.get_mut(&taken)) {
            object.worlds.rebuild(S::foreign(), None);
        }
        marks
    }

    /// An answer comes: completes each world in all ways in which it can be explained, and strikes out the rest.
    pub(super) fn finish(
        &mut self,
        world: &World,
        names: &Names,
        operation: &Operation,
        answer: Answer<'_>,
    ) -> Option<Settled> {
        let id = operation.call.id;
        let key = S::key(names, operation)?;
        let (at, _, object) = self.objects.get_full_mut(&key)?;
        let overlapped = object.open.iter().any(|&other| other != id);
        let explanation = object.worlds.finish(id, &On(world, PhantomData::<S>));
        object.open.retain(|&open| open != id);
        object.settled = operation.ended;
        let settled = match explanation {
            Verdict::Explained(mut marks) => {
                if overlapped {
                    overlap::marks(operation, answer, &mut marks);
                }
                Settled::Explained(marks)
            }
            Verdict::Impossible(strike, others) => {
                let assumed = S::after_conviction(object, operation, answer);
                object.worlds.rebuild(assumed, Some(id));
                Settled::Impossible(strike, others)
            }
            Verdict::Inconclusive => {
                Settled::Inconclusive(format!("{} {key:?}: too many calls at once or lost to follow", S::KIND))
            }
        };
        if object.certainly(S::is_absent) {
            self.living.remove(&at);
        }
        Some(settled)
    }

    /// No answer will come.
    pub(super) fn lose(&mut self, world: &World, names: &Names, operation: &Operation) {
        let id = operation.call.id;
        let Some(object) = self.of_mut(names, operation) else { return };
        object.open.retain(|&open| open != id);
        object.worlds.lose(id);
        if matches!(operation.outcome, Some(Outcome::Lost(Lost::Dropped))) {
            object.worlds.end(&[id], &On(world, PhantomData::<S>));
        }
    }

    /// A process is gone: what was open on it has happened by now, or never will.
    pub(super) fn end(&mut self, world: &World, instance: &str) {
        let over = |call: &CallId| {
            world
                .operations
                .get(*call)
                .is_some_and(|operation| operation.call.instance == *instance && operation.answer().is_none())
        };
        for object in self.objects.values_mut() {
            let calls: Vec<CallId> = object.calls.iter().copied().filter(over).collect();
            object.worlds.end(&calls, &On(world, PhantomData::<S>));
        }
    }

    /// Nothing from before is held against the driver any more.
    pub(super) fn forget(&mut self) {
        self.objects.values_mut().for_each(|object| object.worlds.rebuild(S::foreign(), None));
        self.living.extend(0..self.objects.len());
        let gone = std::mem::take(&mut self.gone);
        self.gone.unknown = gone.any || gone.unknown;
        self.gone.unknown_from = gone.unknown_from.into_iter().chain(gone.made_from).collect();
    }

    /// Forgets the objects that are over; `leaves` says what is left of one: whether ids that certainly belong to nothing, and
    /// what it was made from.
    pub(super) fn retire(
        &mut self,
        is_over: impl Fn(&Key, &Object<S>) -> bool,
        leaves: impl Fn(&Object<S>) -> (bool, BTreeSet<String>),
    ) {
        let mut living = BTreeSet::new();
        let (mut at, mut left) = (0, 0);
        let (gone, was_living) = (&mut self.gone, &self.living);
        self.objects.retain(|key, object| {
            let is_over = is_over(key, object);
            if is_over {
                let (vanished, made_from) = leaves(object);
                if object.certainly(S::is_absent) {
                    gone.any = true;
                    gone.vanished |= vanished;
                    gone.made_from.extend(made_from);
                } else {
                    gone.unknown = true;
                    gone.unknown_from.extend(made_from);
                }
            } else {
                if was_living.contains(&at) {
                    living.insert(left);
                }
                left += 1;
            }
            at += 1;
            !is_over
        });
        self.living = living;
    }

    /// Forgets calls that no later one can be held against, and adds those that are left.
    pub(super) fn remember(&mut self, operations: &Operations, remembered: &mut HashSet<CallId>) {
        for object in self.objects.values_mut() {
            object.forget_calls(operations);
            remembered.extend(&object.calls);
            remembered.extend(object.worlds.calls());
            remembered.extend(object.worlds.states().flat_map(S::calls));
        }
    }
}

/// The calls of a history, taking effect on an object of one kind.
struct On<'a, S>(&'a World, PhantomData<S>);

impl<S: Subject> Calls<S> for On<'_, S> {
    fn apply(&self, state: &S, call: CallId) -> Applied<S> {
        // A call of which the history holds no event cannot take effect.
        let unknown = || Strike::new(rule!("GEN-ERR-001"), "a call without a request", "", "");
        self.0.operations.get(call).map_or_else(|| Err(unknown()), |one| S::apply(self.0, state, one))
    }

    fn depend(&self, a: CallId, b: CallId) -> bool {
        self.0.operations.depend(a, b)
    }

    fn is_twin_before(&self, first: CallId, second: CallId) -> bool {
        self.0.operations.is_twin_before(first, second)
    }

    fn cut_off(&self, state: S, call: CallId) -> S {
        match self.0.operations.get(call) {
            Some(one) => state.cut_off(one),
            None => state,
        }
    }
}
