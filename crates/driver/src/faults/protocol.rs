//! What every answer has to be like.

use tonic::{Code, Status};

use super::{conduct::Conduct, registry::Seeded};
use crate::{
    driver::{Configuration, Parts},
    history::Reply,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B077", || {
            Conduct::after(|_, answer, _| {
                answer.map_err(|refusal| match refusal.code() {
                    Code::Unimplemented => Status::unknown("panic: runtime error: invalid memory address"),
                    _ => refusal,
                })
            })
        })
        .and_replacing(|parts| {
            let without = ["Plugin.GROUP_CONTROLLER_SERVICE"].iter().filter_map(|name| name.parse().ok()).collect();
            Parts { configuration: Configuration { without, ..parts.configuration }, ..parts }
        }),
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
