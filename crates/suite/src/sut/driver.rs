//! The driver under test as a whole: its processes, and calls to them that are recorded as they happen.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{Answer, BringUpError, Instance, Lane, Profile, instance::Line};
use crate::{
    history::{CallId, Lost, Recorder, Request},
    spec::{Rpc, Service},
};

/// Field 10 000, a string, `later`: as a newer orchestrator might send it.
const UNKNOWN_FIELD: [u8; 9] = [0x82, 0xf1, 0x04, 5, b'l', b'a', b't', b'e', b'r'];

/// Where the driver's services are found.
#[derive(Clone, Debug)]
pub enum Target {
    /// One process serves everything.
    Plugin(Lane),
    /// Controller and node are served apart, or only one of them is at hand.
    Separate {
        /// Serves Controller, GroupController and SnapshotMetadata.
        controller: Option<Lane>,
        /// Serves Node.
        node: Option<Lane>,
    },
}

/// The driver under test.
#[derive(Debug)]
pub struct Driver {
    label: String,
    controller: Option<Arc<Instance>>,
    node: Option<Arc<Instance>>,
}

impl Driver {
    /// The label of the node in histories, where there is one only.
    const NODE: &'static str = "node";

    /// Starts the driver where the profile says how, and connects to it.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not answer in time.
    pub async fn connect(target: Target, profile: &Profile, patience: Duration) -> Result<Self, BringUpError> {
        let ready_timeout = profile.ready_timeout();
        let instance = |name, lane, start| Arc::new(Instance::new(name, lane, start, ready_timeout));
        let driver = match target {
            Target::Plugin(lane) => {
                let start = profile.start.clone().filter(|_| lane.endpoint().is_some());
                let plugin = instance("plugin", lane, start);
                Self { label: Self::NODE.to_owned(), controller: Some(plugin.clone()), node: Some(plugin) }
            }
            Target::Separate { controller, node } => Self {
                label: Self::NODE.to_owned(),
                controller: controller.map(|lane| instance("controller", lane, None)),
                node: node.map(|lane| instance("node", lane, None)),
            },
        };
        if driver.instances().is_empty() {
            return Err(BringUpError::NoEndpoint);
        }
        for instance in driver.instances() {
            instance.bring_up(patience).await?;
        }
        Ok(driver)
    }

    /// Its processes, each once.
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        let mut instances: Vec<Arc<Instance>> = self.controller.iter().cloned().collect();
        instances.extend(self.node.iter().filter(|node| node.name() == "node").cloned());
        instances
    }

    /// The process that serves an RPC; Identity is served by all, and asked of the controller here.
    pub fn serving(&self, rpc: Rpc) -> Option<&Arc<Instance>> {
        match rpc.service() {
            Service::Node => self.node.as_ref(),
            Service::Identity => self.controller.as_ref().or(self.node.as_ref()),
            _ => self.controller.as_ref(),
        }
    }

    /// The label of the node in histories.
    pub fn node(&self) -> &str {
        &self.label
    }

    /// The same driver, on one of several nodes.
    #[must_use]
    pub fn on_node(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// Whether the node is this machine for sure.
    pub fn is_local(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.lane().is_local())
    }

    /// Whether all of it can be killed and started again.
    pub fn is_restartable(&self) -> bool {
        self.instances().iter().all(|instance| instance.is_restartable())
    }

    /// Whether a process ended and cannot be brought back.
    pub fn is_dead(&self) -> bool {
        self.instances().iter().any(|instance| instance.is_dead())
    }

    /// The addresses, for the header of a history.
    pub fn endpoints(&self) -> Vec<String> {
        self.instances().iter().map(|instance| format!("{:?}", instance.lane())).collect()
    }

    /// Calls the process that serves the RPC, and records the call.
    ///
    /// Dropping the future cancels the call, which is recorded as well.
    pub async fn call(&self, recorder: &Recorder, scenario: &str, request: &Request, deadline: Duration) -> Answer {
        match self.serving(request.rpc()) {
            Some(instance) => self.call_on(instance, recorder, scenario, request, deadline).await,
            // Nothing is recorded: nothing was sent.
            None => Answer::Garbage(format!("no endpoint serves {}", request.rpc())),
        }
    }

    /// Calls a process of choice, and records the call.
    pub async fn call_on(
        &self,
        instance: &Instance,
        recorder: &Recorder,
        scenario: &str,
        request: &Request,
        deadline: Duration,
    ) -> Answer {
        let (open, line) = self.open(instance, recorder, scenario, request);
        let answer = instance.exchange(recorder, request, line, deadline).await;
        open.close(&answer);
        answer
    }

    /// Calls, and lets the answer get lost on purpose; it is returned for the caller's clean-up only.
    pub async fn call_dropping_answer(
        &self,
        recorder: &Recorder,
        scenario: &str,
        request: &Request,
        deadline: Duration,
    ) -> Answer {
        self.call_recorded_as(recorder, scenario, request, deadline, |answer| match answer {
            Answer::Reply(_) | Answer::Status { .. } => Answer::Lost(Lost::Dropped),
            _ => answer.clone(),
        })
        .await
    }

    /// Calls with a deadline that is too short on purpose: when it passes, the call counts as cancelled by the client.
    pub async fn call_in_a_hurry(
        &self,
        recorder: &Recorder,
        scenario: &str,
        request: &Request,
        deadline: Duration,
    ) -> Answer {
        self.call_recorded_as(recorder, scenario, request, deadline, |answer| match answer {
            Answer::Lost(Lost::Deadline) => Answer::Lost(Lost::Cancelled),
            _ => answer.clone(),
        })
        .await
    }

    /// Calls with a field that no version of the interface has yet; it is not recorded, as it has to make no difference.
    pub async fn call_with_an_unknown_field(
        &self,
        recorder: &Recorder,
        scenario: &str,
        request: &Request,
        deadline: Duration,
    ) -> Answer {
        let Some(instance) = self.serving(request.rpc()) else {
            return Answer::Garbage(format!("no endpoint serves {}", request.rpc()));
        };
        let (open, line) = self.open(instance, recorder, scenario, request);
        let answer = instance.exchange_with(recorder, request, &UNKNOWN_FIELD, line, deadline).await;
        open.close(&answer);
        answer
    }

    /// Ends the processes that this run started.
    pub async fn shut_down(&self) {
        for instance in self.instances() {
            instance.shut_down().await;
        }
    }

    async fn call_recorded_as(
        &self,
        recorder: &Recorder,
        scenario: &str,
        request: &Request,
        deadline: Duration,
        recorded: fn(&Answer) -> Answer,
    ) -> Answer {
        let Some(instance) = self.serving(request.rpc()) else {
            return Answer::Garbage(format!("no endpoint serves {}", request.rpc()));
        };
        let (open, line) = self.open(instance, recorder, scenario, request);
        let answer = instance.exchange(recorder, request, line, deadline).await;
        open.close(&recorded(&answer));
        answer
    }

    /// Calls several times at once: all requests are under way before the first answer is waited for.
    ///
    /// The answers stand in the order of the requests.
    pub async fn call_together(
        &self,
        recorder: &Recorder,
        scenario: &str,
        requests: &[Request],
        deadline: Duration,
    ) -> Vec<Answer> {
        let mut answers = vec![Answer::Lost(Lost::Connection); requests.len()];
        let mut calls = JoinSet::new();
        let opened: Vec<_> = requests
            .iter()
            .enumerate()
            .filter_map(|(at, request)| {
                let instance = self.serving(request.rpc())?.clone();
                let (open, line) = self.open(&instance, recorder, scenario, request);
                Some((at, instance, open, line, request.clone()))
            })
            .collect();
        for (at, instance, open, line, request) in opened {
            let recorder = recorder.clone();
            calls.spawn(async move {
                let answer = instance.exchange(&recorder, &request, line, deadline).await;
                open.close(&answer);
                (at, answer)
            });
        }
        while let Some(ended) = calls.join_next().await {
            if let Ok((at, answer)) = ended {
                answers[at] = answer;
            }
        }
        answers
    }

    fn open(&self, instance: &Instance, recorder: &Recorder, scenario: &str, request: &Request) -> (Open, Line) {
        let node = if request.rpc().is_node() { self.label.as_str() } else { "" };
        // Of several plugins each is told apart by its node: they have ids, and lives, of their own.
        let name = match instance.name() {
            "plugin" if self.label != Self::NODE => format!("plugin@{}", self.label),
            name => name.to_owned(),
        };
        let (id, line) = instance.begin(|| recorder.call(&name, node, scenario, request));
        (Open { recorder: recorder.clone(), id: Some(id) }, line)
    }
}

/// A call under way; dropped before its end, it is recorded as cancelled.
struct Open {
    recorder: Recorder,
    id: Option<CallId>,
}

impl Open {
    fn close(mut self, answer: &Answer) {
        let Some(id) = self.id.take() else { return };
        answer.record(&self.recorder, id);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.recorder.lost(id, Lost::Cancelled);
        }
    }
}
