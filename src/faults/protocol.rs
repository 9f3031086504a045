//! What every answer has to be like.

use tonic::{Code, Status};

use super::{conduct::Conduct, registry::Seeded};
use crate::history::Reply;

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B168", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::NodeGetInfo(info) = reply {
                    info.node_id = format!("{:x<300}", info.node_id);
                }
            })
        }),
        Seeded::conducting("B188", || {
            Conduct::after(|_, answer, _| {
                answer.map_err(|refusal| match refusal.code() {
                    Code::Aborted | Code::Unavailable | Code::DeadlineExceeded => refusal,
                    _ => Status::unknown(""),
                })
            })
        }),
    ]
}
