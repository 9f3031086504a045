//! The CSIDriver object.

/// How the driver wants to be treated.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CsiDriver {
    /// The name of the driver.
    pub name: String,
    /// Whether volumes are attached.
    pub attach_required: bool,
    /// Whether publishing tells of the pod.
    pub pod_info_on_mount: bool,
    /// Whether volumes are published again and again while a pod runs.
    pub requires_republish: bool,
    /// Whether the kubelet gives volumes to the group of a pod.
    pub fs_group_policy: FsGroupPolicy,
    /// Whether volumes may be made up for one pod (`Ephemeral` in `volumeLifecycleModes`).
    pub is_ephemeral: bool,
    /// Audiences for which publishing brings tokens of the pod's service account.
    pub token_requests: Vec<String>,
    /// Whether these come among the secrets.
    pub tokens_in_secrets: bool,
    /// Whether volumes are mounted with the SELinux label of the pod.
    pub selinux_mount: bool,
}

/// Whether the kubelet gives volumes to the group of a pod.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum FsGroupPolicy {
    /// If they have a file system of a named type and are for one node.
    #[default]
    ReadWriteOnceWithFsType,
    /// Always.
    File,
    /// Never.
    None,
}

impl CsiDriver {
    /// The defaults, which also hold without an object.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            attach_required: true,
            pod_info_on_mount: false,
            requires_republish: false,
            fs_group_policy: FsGroupPolicy::default(),
            is_ephemeral: false,
            token_requests: Vec::new(),
            tokens_in_secrets: false,
            selinux_mount: false,
        }
    }
}
