//! Everything that may happen next in a state.

use super::{
    actor::Job,
    event::{Event, Move},
    ledger::Ledger,
    memory::Memory,
    reduction::advance,
    search::{Next, Search, State},
};

impl Search {
    /// The events that are possible, each with the state that it leads to.
    pub(super) fn successors(&self, state: &State, memory: &mut Memory) -> Vec<(Event, Next)> {
        let ledger = self.ledgers.value(state.ledger);
        let nothing = Event::new(memory.is_noting);
        let moves = self.moves(state, ledger, &[], memory);
        let mut readers = Vec::new();
        let mut found = self.read_and_write(moves, state, &nothing, memory, &mut readers);
        found.extend(self.overtaken(readers, memory));
        self.checked(found, memory)
    }

    /// The single moves that are possible, except those of some actors.
    pub(super) fn moves(
        &self,
        state: &State,
        ledger: &Ledger,
        except: &[(u8, Job)],
        memory: &mut Memory,
    ) -> Vec<(Move, Next)> {
        let mut found = Vec::new();
        for index in 0..state.actors.len() {
            let actor = self.actors.value(state.actors[index]);
            if except.contains(&(actor.instance, actor.job)) {
                continue;
            }
            for fate in self.fates(state, index, ledger) {
                found.push((advance(index, fate), self.advance(state, index, fate, memory)));
            }
        }
        for request in self.beginnings(state, ledger) {
            found.push((Move::Begin(request), self.begin(state, request, memory)));
        }
        for instance in 0..self.scenario.instances - self.scenario.leaving {
            for (number, (job, machine)) in self.chores(state, instance).into_iter().enumerate() {
                let number = u8::try_from(number).unwrap_or(u8::MAX);
                found.push((Move::Chore { instance, number }, self.chore(state, instance, job, machine, memory)));
            }
        }
        if self.kubelet_is_due(state) {
            found.push((Move::Kubelet, Ok(self.run_kubelet(state))));
        }
        self.troubles(state, ledger, &mut found);
        found
    }

    /// What one move leads to.
    pub(super) fn apply(&self, state: &State, made: Move, memory: &mut Memory) -> Option<Next> {
        let ledger = self.ledgers.value(state.ledger);
        let moves = self.moves(state, ledger, &[], memory);
        moves.into_iter().find_map(|(other, next)| (other == made).then_some(next))
    }

    fn checked(&self, events: Vec<(Event, Next)>, memory: &mut Memory) -> Vec<(Event, Next)> {
        let mut found = Vec::with_capacity(events.len());
        for (event, next) in events {
            match next.and_then(|reached| self.check(&reached, memory).map_or(Ok(reached), Err)) {
                Ok(reached) => self.tidied(event, reached, memory, &mut found),
                broken => found.push((event, broken)),
            }
        }
        found
    }
}
