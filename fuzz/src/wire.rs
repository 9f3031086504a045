//! Bytes as the body of any RPC, framed or not: the server answers with a status, whatever they are.

use csi_certify_history::spec::Rpc;
use csi_certify_mountpod::mountpod::protocol::Policy;

use super::driver::{Bare, with_a_volume};

/// Sends the bytes: the first chooses the RPC, the second whether a frame is put around the rest.
pub fn run(bytes: &[u8]) {
    let Some((&[rpc, framed], rest)) = bytes.split_first_chunk::<2>() else { return };
    let rpc = Rpc::ALL[usize::from(rpc) % Rpc::ALL.len()];
    let mut body = Vec::with_capacity(rest.len() + 5);
    if framed % 2 == 0 {
        body.push(0);
        body.extend_from_slice(&u32::try_from(rest.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    body.extend_from_slice(rest);
    with_a_volume(&Policy::default(), async |bare: &Bare| {
        let status = bare.send(rpc, body).await;
        assert!(status.is_some_and(|code| (0..=16).contains(&code)), "{rpc}: {status:?}");
    });
}
