//! What can happen in a run: calls, their outcomes, observations of the node, faults.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};

use super::{Reply, Request};

/// Identifies a call within its history.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u64);

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Microseconds since the history began.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A client sent a request.
    Call(Call),
    /// A call ended, as far as its client can tell.
    Return {
        /// The call that ended.
        call: CallId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Somebody looked at the world beside the RPCs.
    Observed(Observation),
    /// Something was done to the driver on purpose.
    Fault(Fault),
    /// A scenario began, ended or was left out.
    Scenario {
        /// Its name.
        name: String,
        /// What became of it.
        phase: Phase,
    },
}

impl<'de> Deserialize<'de> for Event {
    /// By hand, as deriving it would hold each line as a tree first, for the sake of the key that says what happened.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Line)
    }
}

/// One line of a file.
struct Line;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum Key {
    At,
    Call,
    Return,
    Observed,
    Fault,
    Scenario,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Returned {
    call: CallId,
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turned {
    name: String,
    phase: Phase,
}

impl<'de> Visitor<'de> for Line {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a moment and what happened then")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let (mut at, mut happened) = (None, None);
        while let Some(key) = map.next_key()? {
            let kind = match key {
                Key::At => {
                    if at.replace(map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field("at"));
                    }
                    continue;
                }
                Key::Call => EventKind::Call(map.next_value()?),
                Key::Return => {
                    let Returned { call, outcome } = map.next_value()?;
                    EventKind::Return { call, outcome }
                }
                Key::Observed => EventKind::Observed(map.next_value()?),
                Key::Fault => EventKind::Fault(map.next_value()?),
                Key::Scenario => {
                    let Turned { name, phase } = map.next_value()?;
                    EventKind::Scenario { name, phase }
                }
            };
            if happened.replace(kind).is_some() {
                return Err(A::Error::custom("more than one thing happened in one event"));
            }
        }
        let at = at.ok_or_else(|| A::Error::missing_field("at"))?;
        let kind = happened.ok_or_else(|| A::Error::custom("nothing happened in the event"))?;
        Ok(Event { at, kind })
    }
}

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Unique in the history.
    pub id: CallId,
    /// The driver process that it was sent to: `plugin`, or `controller` and `node` where they have separate endpoints.
    pub instance: String,
    /// The node that the process serves, for the RPCs of the Node service; empty elsewhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The scenario, case or workload that sent it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scenario: String,
    /// Ids in the request that the caller made up: they name no object, and need not have the shape of this driver's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invented: Vec<String>,
    /// The request, with secrets redacted.
    pub request: Request,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Status OK and a message.
    Reply {
        /// The message.
        reply: Reply,
        /// Keys of secrets whose values the reply repeats; their occurrences are redacted in it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        leaked: Vec<String>,
    },
    /// Another status.
    Status(Status),
    /// The client gave up waiting or lost the connection: whether the call has happened, or still will, is open.
    Lost(Lost),
    /// Something came that is no gRPC answer to this call: it cannot be decoded, has no status, or is far too big.
    Garbage {
        /// What came, in words.
        what: String,
    },
}

/// A status other than OK.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The number on the wire; one of 1 to 16 if the driver keeps to gRPC.
    pub code: i32,
    /// The text, at most 16 KiB of it, with secrets redacted.
    pub message: String,
    /// How many entries the details hold.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub details: u32,
    /// Keys of secrets whose values the message repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked: Vec<String>,
}

/// Why nothing more is known of a call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lost {
    /// The client's deadline passed without an answer.
    Deadline,
    /// The connection broke while the call was under way.
    Connection,
    /// The client cancelled it on purpose.
    Cancelled,
    /// The answer was dropped on purpose, after it had been sent.
    Dropped,
}

/// Something that was seen beside the RPCs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observation {
    /// A path on a node, and what is mounted there.
    Path {
        /// The node.
        node: String,
        /// The path that was looked at.
        path: String,
        /// What the path is.
        kind: PathKind,
        /// The mounts on exactly this path, lowest first.
        mounts: Vec<Mount>,
    },
    /// An attempt to write through a published path; `name` is a file in it, empty for the start of a block device.
    Write {
        /// The node.
        node: String,
        /// The published path.
        path: String,
        /// The file below it.
        name: String,
        /// What was written.
        content: String,
        /// The name of the error (`EROFS`), empty when it worked.
        error: String,
    },
    /// Blocks that were written through a published path: to a device, or to a file in a directory.
    Blocks {
        /// The node.
        node: String,
        /// The published path.
        path: String,
        /// Where each of them begins.
        offsets: Vec<u64>,
        /// How long each of them is.
        length: u64,
        /// The name of the error (`EROFS`), empty when all of them were written.
        error: String,
    },
    /// An attempt to read through a published path.
    Read {
        /// The node.
        node: String,
        /// The published path.
        path: String,
        /// The file below it, empty for the start of a block device.
        name: String,
        /// What was found.
        content: String,
        /// The name of the error (`ENOENT`), empty when it worked.
        error: String,
    },
    /// The size of what is published: of the block device, or of the file system.
    Size {
        /// The node.
        node: String,
        /// The published path.
        path: String,
        /// Bytes.
        bytes: u64,
    },
    /// The group that owns a file made through a published path.
    Group {
        /// The node.
        node: String,
        /// The published path.
        path: String,
        /// The numeric group id.
        gid: u32,
    },
    /// The driver's process: whether it still runs.
    Process {
        /// The instance.
        instance: String,
        /// Whether it runs.
        alive: bool,
        /// How it ended, or empty.
        exit: String,
    },
    /// What stands in the directory of a socket.
    SocketDirectory {
        /// The instance.
        instance: String,
        /// Names beside the socket itself.
        others: Vec<String>,
    },
    /// What the driver wrote to its standard output and standard error was searched for secrets that were sent to it.
    Logs {
        /// The instance.
        instance: String,
        /// How many bytes were searched.
        bytes: u64,
        /// Keys of the secrets that were found.
        leaked: Vec<String>,
        /// Mount flags of requests that were found.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<String>,
    },
    /// A directory of nobody the driver knows, put where a careless driver reaches it.
    Stranger {
        /// The node.
        node: String,
        /// The directory.
        path: String,
        /// The RPC that was called meanwhile.
        rpc: String,
        /// What happened to it, or empty.
        damage: String,
    },
    /// The children of the driver's process, before and after volumes were published and unpublished.
    Helpers {
        /// The instance.
        instance: String,
        /// How many there were before.
        before: u64,
        /// How many there are afterwards.
        after: u64,
        /// How often a volume was published and unpublished in between.
        rounds: u64,
    },
    /// The driver's process, ended for that, was launched in another way for a while.
    Launched {
        /// The instance.
        instance: String,
        /// In which way.
        way: Launch,
        /// Whether the command line names the endpoint, or nothing but the environment does.
        by_argument: bool,
        /// Whether it answered GetPluginInfo at the endpoint in time.
        answered: bool,
        /// How it ended by itself, or empty.
        exit: String,
    },
    /// The driver's process was searched for TCP ports on which it listens beside its socket.
    Ports {
        /// The instance.
        instance: String,
        /// Those on which it serves CSI.
        serving: Vec<u16>,
        /// How many others there are: for metrics, for health.
        others: u32,
    },
    /// The files that the driver's process holds open to append to, which is what logs are.
    LogFiles {
        /// The instance.
        instance: String,
        /// Their paths.
        paths: Vec<String>,
    },
}

/// A way to launch a driver that shows what it relies on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Launch {
    /// At another endpoint, `unix:///` and an absolute path, where nothing is yet.
    Elsewhere,
    /// Where a process that was killed has left its socket.
    OverStaleSocket,
    /// With nothing in its environment but the endpoint, the search path for programs, and what the profile sets.
    Bare,
    /// With an endpoint in a directory that does not exist.
    Misconfigured,
}

/// What a path is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    /// Nothing is there.
    Absent,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A block device.
    BlockDevice,
    /// A symbolic link.
    Symlink,
    /// Something else, or unreadable (a dead mount).
    Other,
}

/// A mount on a path.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// `ext4`, `fuse.…`, `devtmpfs`.
    pub fs_type: String,
    /// Whether this mount is read-only.
    pub read_only: bool,
    /// Device number, `major:minor`.
    pub device: String,
}

/// Something done to the driver on purpose.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The process was ended with a signal.
    Killed {
        /// The instance.
        instance: String,
        /// `SIGKILL` or `SIGTERM`.
        signal: String,
    },
    /// A new process answers in place of the former.
    Restarted {
        /// The instance.
        instance: String,
    },
    /// The driver's process ended without anybody having asked for it.
    Crashed {
        /// The instance.
        instance: String,
        /// How it ended, as far as known.
        exit: String,
    },
    /// The connection was cut.
    Disconnected {
        /// The instance.
        instance: String,
    },
}

/// What became of a scenario.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It began.
    Begin,
    /// It ran to its end.
    End,
    /// It could not begin, or not go on: the driver lacks a capability, a precondition failed, time ran out.
    Stopped {
        /// Why, for people.
        reason: String,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
