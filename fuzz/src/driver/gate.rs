//! The one place where calls take turns: each effect on the node passes here, and only as many as a program grants.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Mutex, MutexGuard, PoisonError},
};

use csi_certify_suite::explore::calls::{HOUSEKEEPING, Lane};
use tokio::{sync::Notify, task};

/// The lane of work that is never held up.
pub const UNHINDERED: Lane = HOUSEKEEPING + 1;
const LANES: usize = UNHINDERED as usize + 1;

/// Lets effects pass, or holds them back.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The process of the driver that lives; effects of its predecessors never come to pass.
    process: u64,
    /// Whose turn it is: what has no lane yet belongs to this one.
    turn: Lane,
    tasks: BTreeMap<task::Id, Lane>,
    /// How many effects are left to each lane; any number without one.
    left: [Option<u8>; LANES],
    waits: [bool; LANES],
}

impl Gate {
    /// Waits until the effect may happen.
    pub async fn pass(&self, process: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.may_pass(process) {
                Some(true) => return,
                Some(false) => changed.await,
                None => pending().await,
            }
        }
    }

    fn may_pass(&self, process: u64) -> Option<bool> {
        let mut state = self.state();
        if state.process != process {
            return None;
        }
        let turn = state.turn;
        let lane = match task::try_id() {
            Some(task) => *state.tasks.entry(task).or_insert(turn),
            None => turn,
        };
        let passes = match &mut state.left[usize::from(lane)] {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        };
        if !passes && !state.waits[usize::from(lane)] {
            state.waits[usize::from(lane)] = true;
            self.changed.notify_waiters();
        }
        Some(passes)
    }

    /// Gives the lane its turn, and so many effects.
    pub fn grant(&self, lane: Lane, effects: Option<u8>) {
        let mut state = self.state();
        state.turn = lane;
        state.left[usize::from(lane)] = effects;
        state.waits[usize::from(lane)] = false;
        self.changed.notify_waiters();
    }

    /// Gives the turn back to a lane without granting more.
    pub fn turn(&self, lane: Lane) -> Lane {
        std::mem::replace(&mut self.state().turn, lane)
    }

    /// Says to which lane a task belongs before it begins.
    pub fn assign(&self, task: task::Id, lane: Lane) {
        self.state().tasks.insert(task, lane);
    }

    /// Whether the task that asks is known.
    pub fn knows_this_task(&self) -> bool {
        task::try_id().is_some_and(|task| self.state().tasks.contains_key(&task))
    }

    /// Waits until the lane has used up its effects and wants more.
    pub async fn holds_back(&self, lane: Lane) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state().waits[usize::from(lane)] {
                return;
            }
            changed.await;
        }
    }

    /// The process that lives.
    pub fn process(&self) -> u64 {
        self.state().process
    }

    /// Ends the process that lives; the next one can begin.
    pub fn end_process(&self) {
        let mut state = self.state();
        *state = State { process: state.process + 1, ..State::default() };
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
