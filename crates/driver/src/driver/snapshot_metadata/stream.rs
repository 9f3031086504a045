//! Ranges as a stream of messages: the next one is read when the client has room for it, and none after it has gone.

use std::pin::Pin;

use futures_util::{Stream, stream};
use tonic::Status;

use crate::{
    csi::v1::BlockMetadata,
    driver::{Refusal, content::Ranges, size::signed},
};

/// Gathers up to `most` ranges in each message. Without any range there is one message, which tells the rest.
pub(super) fn messages<M: 'static>(
    ranges: Ranges,
    most: usize,
    message: impl Fn(Vec<BlockMetadata>) -> M + Send + 'static,
) -> Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>> {
    let batches = Batches { ranges, most, course: Course::Beginning };
    Box::pin(stream::unfold((batches, message), |(mut batches, message)| async move {
        // Reading blocks.
        let read = tokio::task::spawn_blocking(move || (batches.next(), batches)).await;
        let (batch, batches) = match read {
            Ok(read) => read,
            Err(error) => {
                let status = Refusal::internal("reading the content of a snapshot", error).into();
                return Some((Err(status), (Batches::over(), message)));
            }
        };
        let item = batch?.map(&message).map_err(Status::from);
        Some((item, (batches, message)))
    }))
}

struct Batches {
    ranges: Ranges,
    most: usize,
    course: Course,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Course {
    /// Nothing was given yet.
    Beginning,
    /// Something was given.
    Going,
    /// The ranges have ended, well or not.
    Over,
}

impl Batches {
    fn over() -> Self {
        Self { ranges: Box::new(std::iter::empty()), most: 0, course: Course::Over }
    }

    fn next(&mut self) -> Option<Result<Vec<BlockMetadata>, Refusal>> {
        if self.course == Course::Over {
            return None;
        }
        let mut batch = Vec::new();
        while batch.len() < self.most {
            match self.ranges.next() {
                Some(Ok(range)) => batch.push(BlockMetadata {
                    byte_offset: signed(range.start),
                    size_bytes: signed(range.end - range.start),
                }),
                Some(Err(error)) => {
                    self.course = Course::Over;
                    return Some(Err(Refusal::internal("reading the content of a snapshot", error)));
                }
                None => {
                    let is_first = self.course == Course::Beginning;
                    self.course = Course::Over;
                    return (is_first || !batch.is_empty()).then_some(Ok(batch));
                }
            }
        }
        self.course = Course::Going;
        Some(Ok(batch))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::StreamExt as _;

    use super::*;

    async fn sizes(ranges: Vec<io::Result<std::ops::Range<u64>>>, most: usize) -> Vec<Result<usize, tonic::Code>> {
        let all = messages(Box::new(ranges.into_iter()), most, |batch| batch.len());
        all.map(|item| item.map_err(|status| status.code())).collect().await
    }

    #[tokio::test]
    async fn messages_are_full_but_for_the_last_and_there_is_always_one() {
        let ranges = |count: u64| (0..count).map(|at| Ok(at * 10..at * 10 + 5)).collect();
        assert_eq!(sizes(ranges(5), 2).await, [Ok(2), Ok(2), Ok(1)]);
        assert_eq!(sizes(ranges(4), 2).await, [Ok(2), Ok(2)]);
        assert_eq!(sizes(ranges(0), 2).await, [Ok(0)]);
    }

    #[tokio::test]
    async fn an_error_ends_the_stream() {
        let ranges = vec![Ok(0..5), Ok(10..15), Err(io::Error::other("broken disk")), Ok(20..25)];
        assert_eq!(sizes(ranges, 2).await, [Ok(2), Err(tonic::Code::Internal)]);
    }
}
