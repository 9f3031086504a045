//! Performs the effect of an actor and hands it the answer.

use super::{
    super::mountpod::{
        instant::Timestamp,
        pod::Uid,
        protocol::{Answer, Effect, MountOperation, WorkloadState},
    },
    actor::{Actor, Job},
    event::Fate,
    ledger::{Held, Ledger, Phase},
    memory::{Memory, Performed, reached},
    moves::wants_daemon,
    records::Fresh,
    scenario::Trouble,
    search::{Next, Search, State},
    store::Kept,
};

impl Search {
    /// Whether the actor waits for a lock that another one holds.
    pub(super) fn is_blocked(&self, state: &State, index: usize) -> bool {
        let actor = self.actors.value(state.actors[index]);
        let Effect::Acquire(lock) = &actor.effect else { return false };
        let is_request = |other: &Actor| other.instance == actor.instance && matches!(other.job, Job::Request(_));
        if actor.yields_to_requests() && state.actors.iter().any(|other| is_request(self.actors.value(*other))) {
            return true;
        }
        let ledger = self.ledgers.value(state.ledger);
        ledger.locks.iter().any(|held| held.instance == actor.instance && held.lock == *lock)
    }

    /// Whether the effect looks at a daemon that the kubelet is about to start.
    fn is_starting<Reply>(&self, state: &State, effect: &Effect<Reply>) -> bool {
        let Effect::Mount(MountOperation::Verify(pod)) = effect else { return false };
        let record = self.records.value(state.records).pods.get(&pod.name);
        record.is_some_and(|record| record.uid == pod.uid && wants_daemon(self.nodes.value(state.node), record))
    }

    pub(super) fn fates(&self, state: &State, index: usize, ledger: &Ledger) -> Vec<Fate> {
        if self.is_blocked(state, index) {
            return Vec::new();
        }
        let actor = self.actors.value(state.actors[index]);
        if self.is_starting(state, &actor.effect) {
            // A publish waits for a daemon that is about to serve, unless the scenario lets it be slow.
            let slow = ledger.phase == Phase::Explore && ledger.budget.allows(Trouble::SlowDaemon);
            return if slow { vec![Fate::NotYet] } else { Vec::new() };
        }
        let mut fates = vec![Fate::Performed];
        let is_write = matches!(actor.effect, Effect::Create(_) | Effect::Update(..) | Effect::Delete(..));
        let is_request = is_write || matches!(actor.effect, Effect::List(_));
        let is_bind = matches!(actor.effect, Effect::Mount(MountOperation::Bind { .. }));
        for (fate, trouble, possible) in [
            (Fate::LostReply, Trouble::LostReply, is_write),
            (Fate::LostRequest, Trouble::LostRequest, is_request),
            (Fate::Conflict, Trouble::Conflict, is_write),
            (Fate::ApiFailure, Trouble::ApiFailure, is_request),
            (Fate::FailedMount, Trouble::FailedMount, is_bind),
        ] {
            if possible && ledger.budget.allows(trouble) {
                fates.push(fate);
            }
        }
        fates
    }

    /// Performs the effect of an actor, hands it the answer, and goes on to its next effect that others can notice.
    pub(super) fn advance(&self, state: &State, index: usize, fate: Fate, memory: &mut Memory) -> Next {
        let mut state = state.clone();
        let before = self.actors.value(state.actors[index]);
        let now = self.ledgers.value(state.ledger).now;
        if let Some(spent) = spent(fate) {
            state = self.changed(&state, |ledger| ledger.budget = ledger.budget.after(spent));
        }
        let after = match &before.effect {
            Effect::List(_) | Effect::Create(_) | Effect::Update(..) | Effect::Delete(..) => {
                let fresh = if matches!(before.effect, Effect::List(_)) { NONE } else { self.fresh(&state) };
                let key = (state.actors[index], state.records, fate, fresh, now);
                let done =
                    memory.performed.entry(key).or_insert_with(|| self.request(before, &state, fate, fresh, now));
                if let Some(violation) = &done.broken {
                    return Err(violation.clone());
                }
                memory.reached.insert(done.reached);
                state.records = done.part;
                if let Some(uid) = &done.killed {
                    state.node = self.without_daemon(state.node, uid);
                }
                done.actor
            }
            Effect::Mount(MountOperation::Teardown(pod)) => {
                if let Some(violation) = self.check_teardown(&state, &pod.uid) {
                    return Err(violation);
                }
                let key = (state.actors[index], state.node, fate, NONE, now);
                let done = memory.performed.entry(key).or_insert_with(|| self.mount(before, &state, fate, now));
                memory.reached.insert(done.reached);
                state.node = done.part;
                done.actor
            }
            Effect::Mount(_) => {
                let key = (state.actors[index], state.node, fate, NONE, now);
                let done = memory.performed.entry(key).or_insert_with(|| self.mount(before, &state, fate, now));
                memory.reached.insert(done.reached);
                state.node = done.part;
                done.actor
            }
            Effect::Workloads(targets) => {
                let ledger = self.ledgers.value(state.ledger);
                let known = |target| self.cast.targets.iter().position(|known| known == target);
                let states = targets.iter().map(|target| {
                    let found = known(target).and_then(|number| ledger.workloads[number]);
                    let unknown = if self.scenario.workloads { WorkloadState::Gone } else { WorkloadState::Unknown };
                    found.filter(|_| self.scenario.workloads).unwrap_or(unknown)
                });
                self.actors.keep(before.answered(&self.policy, now, Answer::Workloads(states.collect())))
            }
            Effect::Acquire(lock) => {
                let held = Held { instance: before.instance, lock: lock.clone(), job: before.job };
                state = self.changed(&state, |ledger| ledger.locks.push(held));
                self.actors.keep(before.answered(&self.policy, now, Answer::Done))
            }
            Effect::Release(_) => {
                state = self.changed(&state, |ledger| {
                    ledger.locks.retain(|held| (held.instance, held.job) != (before.instance, before.job));
                });
                self.actors.keep(before.answered(&self.policy, now, Answer::Done))
            }
            Effect::Wait(_) | Effect::Reply(_) => self.actors.keep(before.answered(&self.policy, now, Answer::Done)),
        };
        state.actors[index] = after;
        self.go_on(state, index, now)
    }

    /// The actor after it has read the records of the state.
    pub(super) fn listed(&self, actor: Kept, state: &State, memory: &mut Memory) -> Kept {
        let now = self.ledgers.value(state.ledger).now;
        let key = (actor, state.records, Fate::Performed, NONE, now);
        let before = self.actors.value(actor);
        let done =
            memory.performed.entry(key).or_insert_with(|| self.request(before, state, Fate::Performed, NONE, now));
        done.actor
    }

    /// Waits end at once, since whatever may happen meanwhile may happen before; a reply ends the actor.
    fn go_on(&self, mut state: State, index: usize, now: Timestamp) -> Next {
        let mut actor = self.actors.value(state.actors[index]);
        while let Effect::Wait(_) = actor.effect {
            if let Some(violation) = self.check_wait(&state, actor) {
                return Err(violation);
            }
            let next = self.actors.keep(actor.answered(&self.policy, now, Answer::Done));
            state.actors[index] = next;
            actor = self.actors.value(next);
        }
        if let Effect::Reply(outcome) = &actor.effect {
            state.actors.remove(index);
            state = self.reply(&state, actor, outcome)?;
        }
        self.sort(&mut state);
        Ok(state)
    }

    fn request(&self, actor: &Actor, state: &State, fate: Fate, fresh: Fresh, now: Timestamp) -> Performed {
        let before = self.records.value(state.records);
        let mut records = before.clone();
        let (mut killed, mut broken) = (None, None);
        let performed = match &actor.effect {
            _ if !matches!(fate, Fate::Performed | Fate::LostReply) => Answer::Done,
            Effect::List(selector) => Answer::Pods(records.list(selector)),
            Effect::Create(pod) => records.create(pod, fresh),
            Effect::Update(pod, mode) => records.update(pod, *mode, fresh),
            Effect::Delete(name, conditions) => {
                let (answer, deleted) = records.delete(name, conditions, fresh);
                if let Some(pod) = deleted {
                    broken = self.check_deletion(before, &pod, now);
                    killed = Some(pod.uid);
                }
                answer
            }
            _ => Answer::Done,
        };
        let answer = match fate {
            Fate::Performed | Fate::FailedMount | Fate::NotYet => performed,
            Fate::LostReply | Fate::LostRequest => Answer::Unknown,
            Fate::Conflict => Answer::Refused,
            Fate::ApiFailure => Answer::Failed("out of order".to_owned()),
        };
        if self.scenario.delayed_deletion {
            records.note_empty(now);
        }
        let part = self.keep_records(records);
        let reached = reached(actor, &answer);
        let actor = self.actors.keep(actor.answered(&self.policy, now, answer));
        Performed { actor, part, killed, broken, reached }
    }

    fn mount(&self, actor: &Actor, state: &State, fate: Fate, now: Timestamp) -> Performed {
        let mut node = self.nodes.value(state.node).clone();
        let answer = match &actor.effect {
            Effect::Mount(_) if fate == Fate::FailedMount => Answer::Failed("the mount failed".to_owned()),
            Effect::Mount(operation) => node.perform(operation.clone()),
            _ => Answer::Done,
        };
        let part = self.nodes.keep(node);
        let reached = reached(actor, &answer);
        let actor = self.actors.keep(actor.answered(&self.policy, now, answer));
        Performed { actor, part, killed: None, broken: None, reached }
    }

    fn without_daemon(&self, node: Kept, uid: &Uid) -> Kept {
        let mut node = self.nodes.value(node).clone();
        // The pod is terminating, so no daemon of it will ever run again.
        node.daemons.remove(uid);
        self.nodes.keep(node)
    }
}

const fn spent(fate: Fate) -> Option<Trouble> {
    match fate {
        Fate::Performed => None,
        Fate::LostReply => Some(Trouble::LostReply),
        Fate::LostRequest => Some(Trouble::LostRequest),
        Fate::Conflict => Some(Trouble::Conflict),
        Fate::ApiFailure => Some(Trouble::ApiFailure),
        Fate::FailedMount => Some(Trouble::FailedMount),
        Fate::NotYet => Some(Trouble::SlowDaemon),
    }
}

const NONE: Fresh = Fresh { uid: 0, version: 0 };
