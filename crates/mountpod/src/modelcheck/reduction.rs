//! Leaves out orders of moves that lead to the same: a search visits fewer states and misses no broken promise.
//!
//! Four arguments, each about moves that nobody else can notice:
//!
//! - **A doomed write** names a version that is gone, and versions never come back. It will be refused whenever it is
//!   made, so it is refused at once.
//! - **A read with what it decides on**, a write or another read, is one move. What others do in between, other than
//!   writing pods, commutes with the read and can be done before; a write of the same pod dooms the write, and then the
//!   read might as well not have happened. Left is a write of another pod (or time that passes) in between, after which
//!   the actor holds a decision on an old read that it would not take now: that is a move of its own, *overtaken*.
//!   Stopping the daemon of a terminating pod, which is dead already, cannot be noticed, and counts as a part of the read.
//! - **Private work** on the mounts of a target that one actor alone holds can be done at once: whatever else may happen
//!   now may as well happen after it, except that this actor is cut off, which leads to a state of its own.
//! - **Housekeeping that is about to begin anew** is the same as none, because it can be started at any time.
//!
//! `tests/modelcheck.rs` holds a search with this against one of every order: no state in which nothing is under way, no
//! goal and no verdict is lost.

use super::{
    super::mountpod::{
        TargetPath,
        api::WriteMode,
        pod::{PodName, ResourceVersion, Uid},
        protocol::{Answer, Effect, EvidenceOrder, MountOperation, TerminatingWorkload, WorkloadState},
    },
    actor::{Actor, Job, Outcome},
    event::{Event, Fate, Move},
    ledger::Ledger,
    memory::{Memory, reached as seen},
    records::Records,
    scenario::Trouble,
    search::{Next, Search, State},
    store::Kept,
};

/// Somebody who has read, and has decided on a write.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    who: (u8, Job),
    /// Whether its request has begun with this read.
    has_begun: bool,
    before: Kept,
    holds: Kept,
    event: Event,
    state: State,
}

impl Search {
    /// The way from a read to the write that it decides on, through further reads, or else the read itself. Appends to the
    /// readers.
    pub(super) fn read_and_write(
        &self,
        moves: Vec<(Move, Next)>,
        state: &State,
        so_far: &Event,
        memory: &mut Memory,
        readers: &mut Vec<Reader>,
    ) -> Vec<(Event, Next)> {
        let mut found = Vec::new();
        for (made, next) in moves {
            let event = so_far.then(made);
            let next = match next {
                Ok(reached) if self.is_reduced => match self.reader(state, reached, made, &event) {
                    Ok(reader) => {
                        self.write(reader, memory, readers, &mut found);
                        continue;
                    }
                    Err(reached) => Ok(reached),
                },
                next => next,
            };
            found.push((event, next));
        }
        found
    }

    /// Goes on from a read to what is not a read.
    fn write(
        &self,
        mut reader: Reader,
        memory: &mut Memory,
        readers: &mut Vec<Reader>,
        found: &mut Vec<(Event, Next)>,
    ) {
        if reader.has_begun {
            self.cut_beginner(&reader, found);
        }
        loop {
            let Some(index) = self.index(&reader.state, reader.who) else {
                return found.push((reader.event, Ok(reader.state)));
            };
            let effect = &self.actors.value(reader.holds).effect;
            let is_read = matches!(effect, Effect::List(_));
            let asks = matches!(effect, Effect::Workloads(_));
            if !is_read && !asks && !is_write(effect) && !self.is_unseen(&reader.state, effect) {
                return found.push((reader.event, Ok(reader.state)));
            }
            let ledger = self.ledgers.value(reader.state.ledger);
            for fate in self.fates(&reader.state, index, ledger) {
                if is_write(effect) || fate != Fate::Performed {
                    let written = self.advance(&reader.state, index, fate, memory);
                    found.push((reader.event.then(advance(index, fate)), written));
                }
            }
            if is_write(effect) {
                return readers.push(reader);
            }
            let made = advance(index, Fate::Performed);
            let event = reader.event.then(made);
            let reached = match self.advance(&reader.state, index, Fate::Performed, memory) {
                Ok(reached) => reached,
                broken => return found.push((event, broken)),
            };
            let Some(next) = self.index(&reached, reader.who) else { return found.push((event, Ok(reached))) };
            let before = if is_read { reader.holds } else { reader.before };
            let holds = reached.actors[next];
            let next = Reader { before, holds, event, state: reached, ..reader.clone() };
            if is_read || asks {
                readers.push(reader);
            }
            reader = next;
        }
    }

    /// A request that has begun and is cut off before it has done anything will be made again.
    fn cut_beginner(&self, reader: &Reader, found: &mut Vec<(Event, Next)>) {
        let Some(index) = self.index(&reader.state, reader.who) else { return };
        let mut troubles = Vec::new();
        self.troubles(&reader.state, self.ledgers.value(reader.state.ledger), &mut troubles);
        let is_cut = |made: &Move| match *made {
            Move::CutOff(actor) => usize::from(actor) == index,
            Move::Crash(instance) => instance == reader.who.0,
            Move::Other(trouble, _) => trouble == Trouble::Reboot,
            _ => false,
        };
        let cuts = troubles.into_iter().filter(|(made, _)| is_cut(made));
        found.extend(cuts.map(|(made, next)| (reader.event.then(made), next)));
    }

    /// The reader that this move has made, if its actor has read; else the state is given back.
    fn reader(&self, state: &State, reached: State, made: Move, event: &Event) -> Result<Reader, State> {
        if state.records != reached.records || state.node != reached.node {
            return Err(reached);
        }
        let (who, before) = match made {
            Move::Advance { actor, fate: Fate::Performed } => {
                let before = state.actors[usize::from(actor)];
                let actor = self.actors.value(before);
                ((actor.instance, actor.job), before)
            }
            Move::Begin(number) => {
                let actor = self.begun(state, number);
                ((actor.instance, actor.job), self.actors.keep(actor))
            }
            Move::Chore { instance, number } => {
                let chore = self.chores(state, instance).into_iter().nth(usize::from(number));
                let Some((job, machine)) = chore else { return Err(reached) };
                let now = self.ledgers.value(state.ledger).now;
                ((instance, job), self.actors.keep(Actor::new(instance, job, machine, &self.policy, now)))
            }
            _ => return Err(reached),
        };
        let has_read = matches!(self.actors.value(before).effect, Effect::List(_));
        match self.index(&reached, who).map(|index| reached.actors[index]) {
            Some(holds) if has_read && holds != before => {
                let has_begun = matches!(made, Move::Begin(_));
                Ok(Reader { who, has_begun, before, holds, event: event.clone(), state: reached })
            }
            _ => Err(reached),
        }
    }

    /// Events in which somebody reads, another one writes another pod, and the first one's decision is still valid.
    pub(super) fn overtaken(&self, readers: Vec<Reader>, memory: &mut Memory) -> Vec<(Event, Next)> {
        let mut found = Vec::new();
        let mut open: Vec<Vec<Reader>> = readers.into_iter().map(|reader| vec![reader]).collect();
        while let Some(waiting) = open.pop() {
            let Some(last) = waiting.last() else { continue };
            let (state, event) = (last.state.clone(), last.event.clone());
            let mut others = Vec::new();
            let ledger = self.ledgers.value(state.ledger);
            let busy: Vec<(u8, Job)> = waiting.iter().map(|reader| reader.who).collect();
            let moves = self.moves(&state, ledger, &busy, memory);
            for (event, next) in self.read_and_write(moves, &state, &event, memory, &mut others) {
                match next {
                    Ok(reached) if self.leaves_valid(&state, &reached, &waiting, memory) => {
                        found.push((event, Ok(reached)));
                    }
                    Ok(_) => {}
                    Err(violation) => found.push((event, Err(violation))),
                }
            }
            for other in others.into_iter().filter(|other| other.who > last.who) {
                open.push(waiting.iter().cloned().chain([other]).collect());
            }
        }
        found
    }

    /// Whether the event has written a pod, or let time pass, and each reader holds a write that is still valid and
    /// that it would not decide on now.
    fn leaves_valid(&self, state: &State, reached: &State, readers: &[Reader], memory: &mut Memory) -> bool {
        let now = self.ledgers.value(reached.ledger).now;
        if state.records == reached.records && self.ledgers.value(state.ledger).now == now {
            return false;
        }
        let records = self.records.value(reached.records);
        readers.iter().all(|reader| {
            let actor = self.actors.value(reader.holds);
            if is_doomed(actor, records) {
                memory.reached.insert(seen(actor, &Answer::Refused));
                return false;
            }
            reached.actors.contains(&reader.holds) && self.listed(reader.before, reached, memory) != reader.holds
        })
    }

    /// The states after doomed writes were refused and private work was done: one, and one for each moment at which
    /// whoever works can be cut off.
    pub(super) fn tidied(
        &self,
        mut event: Event,
        mut state: State,
        memory: &mut Memory,
        found: &mut Vec<(Event, Next)>,
    ) {
        while let Some((index, is_private)) = self.untidy(&state, memory) {
            let ledger = self.ledgers.value(state.ledger);
            if is_private {
                let mut cut = Vec::new();
                self.cut_offs(&state, ledger, index..=index, &mut cut);
                for (made, next) in cut {
                    let next = next.and_then(|cut| self.check(&cut, memory).map_or(Ok(cut), Err));
                    found.push((event.then(made), next));
                }
            }
            event = event.then(advance(index, Fate::Performed));
            let next = self.advance(&state, index, Fate::Performed, memory);
            let next = next.and_then(|next| self.check(&next, memory).map_or(Ok(next), Err));
            match next {
                Ok(next) => state = next,
                broken => return found.push((event, broken)),
            }
        }
        if self.is_reduced {
            self.drop_beginners(&mut state);
        }
        found.push((event, Ok(state)));
    }

    /// Housekeeping that is about to begin anew is the same as none: it can be started at any time.
    fn drop_beginners(&self, state: &mut State) {
        let ledger = self.ledgers.value(state.ledger);
        state.actors.retain(|actor| {
            let actor = self.actors.value(*actor);
            let locks = ledger.locks.iter().any(|held| (held.instance, held.job) == (actor.instance, actor.job));
            locks || !actor.begins_anew(&self.policy)
        });
    }

    /// The state without housekeeping that is about to begin anew, if nothing else is under way.
    pub(super) fn quiet(&self, state: &State) -> Option<State> {
        let mut quiet = state.clone();
        self.drop_beginners(&mut quiet);
        quiet.actors.is_empty().then_some(quiet)
    }

    /// An actor whose next effect is performed at once, and whether it is private work.
    pub(super) fn untidy(&self, state: &State, memory: &mut Memory) -> Option<(usize, bool)> {
        if !self.is_reduced {
            return None;
        }
        let records = self.records.value(state.records);
        let doomed = (0..state.actors.len()).find(|index| {
            let actor = self.actors.value(state.actors[*index]);
            is_doomed(actor, records) && !self.is_refusal_final(state, *index, memory)
        });
        let ledger = self.ledgers.value(state.ledger);
        doomed.map(|index| (index, false)).or_else(|| Some((self.private(state, ledger)?, true)))
    }

    /// Whether a request ends with the refusal: then it has something to say, and that is a move of its own.
    fn is_refusal_final(&self, state: &State, index: usize, memory: &mut Memory) -> bool {
        let is_request = matches!(self.actors.value(state.actors[index]).job, Job::Request(_));
        let after = self.advance(state, index, Fate::Performed, memory);
        is_request && after.is_ok_and(|after| after.actors.len() < state.actors.len())
    }

    /// An actor whose next effect nobody else can notice or disturb.
    ///
    /// Where an instance or a node can crash, all of its actors stop at once, and every combination of where they stop
    /// counts.
    pub(super) fn private(&self, state: &State, ledger: &Ledger) -> Option<usize> {
        if ledger.budget.allows(Trouble::Crash) || ledger.budget.allows(Trouble::Reboot) {
            return None;
        }
        let node = self.nodes.value(state.node);
        (0..state.actors.len()).find(|index| {
            let actor = self.actors.value(state.actors[*index]);
            let target = match &actor.effect {
                Effect::Mount(
                    MountOperation::UnmountAll(target)
                    | MountOperation::UnmountBeneath(target)
                    | MountOperation::RemoveTarget(target)
                    | MountOperation::Prepare { target, .. },
                ) => target,
                Effect::Mount(MountOperation::Look(target)) if !node.layers.contains_key(target) => target,
                _ => return false,
            };
            let sole = |request: &super::Request| {
                self.cast.target(request.target) != target || request.instance == actor.instance
            };
            let housekeepers = 0..self.scenario.instances - self.scenario.leaving;
            // One instance does not repair a target that a request of its own works on.
            let unrepaired = !self.scenario.chores.rebind || housekeepers == (actor.instance..actor.instance + 1);
            let is_request = matches!(actor.job, Job::Request(_));
            self.scenario.requests.iter().all(sole)
                && unrepaired
                && (!self.scenario.chores.collect || (is_request && self.is_uncollected(ledger, target)))
        })
    }

    /// Whether no collector unmounts the target while its request runs: it has seen the record first, so it takes nothing for
    /// gone that exists now, and the workload does not go meanwhile.
    fn is_uncollected(&self, ledger: &Ledger, target: &TargetPath) -> bool {
        let careful = self.policy.evidence == EvidenceOrder::RecordFirst
            && self.policy.terminating_workload == TerminatingWorkload::Counts;
        let stays = ![Trouble::WorkloadLoss, Trouble::WorkloadShutdown].iter().any(|loss| ledger.budget.allows(*loss));
        let mut targets = self.cast.targets.iter().zip(&ledger.workloads);
        let lives = targets.any(|(other, workload)| {
            other == target && matches!(workload, Some(WorkloadState::Lives | WorkloadState::Terminating))
        });
        careful && stays && lives && self.scenario.workloads
    }

    /// Whether the effect stops a daemon that is dead for ever: its pod is terminating, and nothing can tell.
    fn is_unseen(&self, state: &State, effect: &Effect<Outcome>) -> bool {
        let Effect::Mount(MountOperation::Teardown(pod)) = effect else { return false };
        let mut pods = self.records.value(state.records).pods.values();
        let is_alive = self.nodes.value(state.node).daemons.get(&pod.uid).is_some_and(|(_, alive)| *alive);
        !is_alive && !pods.any(|other| other.uid == pod.uid && other.is_live())
    }

    fn index(&self, state: &State, who: (u8, Job)) -> Option<usize> {
        state.actors.iter().position(|actor| {
            let actor = self.actors.value(*actor);
            (actor.instance, actor.job) == who
        })
    }
}

fn is_write<Reply>(effect: &Effect<Reply>) -> bool {
    matches!(effect, Effect::Create(_) | Effect::Update(..) | Effect::Delete(..))
}

/// The move of this actor.
pub(super) fn advance(index: usize, fate: Fate) -> Move {
    Move::Advance { actor: u8::try_from(index).unwrap_or(u8::MAX), fate }
}

/// Whether the actor wants to write a version that is gone.
fn is_doomed(actor: &Actor, records: &Records) -> bool {
    let differs = |name: &PodName, uid: &Uid, version: &ResourceVersion| {
        records.pods.get(name).is_none_or(|pod| pod.uid != *uid || pod.version != *version)
    };
    match &actor.effect {
        Effect::Update(pod, WriteMode::CompareAndSwap) => differs(&pod.name, &pod.uid, &pod.version),
        Effect::Delete(name, conditions) => match (&conditions.uid, &conditions.version) {
            (Some(uid), Some(version)) => differs(name, uid, version),
            _ => false,
        },
        _ => false,
    }
}
