//! Programs of RPCs over volumes, snapshots and targets.
