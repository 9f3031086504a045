//! Any bytes as the record of a mount pod, as durations and as moments: read or refused, never a panic, and what was read is
//! written in a form that reads the same.

use csi_certify_mountpod::mountpod::{
    annotations,
    instant::{Timestamp, format_duration, parse_duration},
    pod::Pod,
};

/// Reads the bytes in every way in which a pod's record is read.
pub fn run(bytes: &[u8]) {
    if let Ok(pod) = serde_json::from_slice::<Pod>(bytes) {
        let references = annotations::references(&pod);
        assert_eq!(annotations::is_referenced(&pod), !references.is_empty());
        let _ = (annotations::delete_delay(&pod), annotations::delete_at(&pod));
        let mut cleared = pod.clone();
        for reference in &references {
            annotations::drop_reference(&mut cleared, &reference.target);
        }
        assert!(!annotations::is_referenced(&cleared), "a dropped reference is still counted: {pod:?}");
        let text = serde_json::to_vec(&pod).expect("a pod is JSON");
        assert_eq!(serde_json::from_slice::<Pod>(&text).expect("what was written reads"), pod);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(moment) = text.parse::<Timestamp>() {
        assert_eq!(moment.to_string().parse(), Ok(moment), "{text:?}");
    }
    if let Ok(duration) = parse_duration(text) {
        let _ = format_duration(duration);
    }
}
