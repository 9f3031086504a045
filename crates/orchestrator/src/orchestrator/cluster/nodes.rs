//! What happens to the nodes of a cluster: kubelets, drivers and whole machines that end and start again.

use std::sync::Arc;

use super::{Cluster, ClusterError};
use crate::{
    history::Recorder,
    orchestrator::{
        csi_client::CsiClient,
        external_attacher, external_provisioner, external_resizer, external_snapshotter,
        kubelet::{self, Kubelet, Places},
        node_driver_registrar,
        object::{Node, Pod},
    },
    sut::{Driver, Signal},
};

impl Cluster {
    /// Starts the kubelet of a node, if it does not run.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn start_kubelet(&mut self, node: &str) -> Result<(), ClusterError> {
        let context = self.context.clone();
        let slot = self.nodes.get_mut(node).ok_or_else(|| ClusterError::NoNode(node.to_owned()))?;
        if slot.kubelet.is_some() {
            return Ok(());
        }
        let kubelet = Kubelet {
            client: CsiClient::new(slot.setup.driver.clone(), kubelet::component(node), &context),
            node: node.to_owned(),
            places: Places::new(slot.setup.root.clone()),
            machine: slot.machine.clone(),
            dice: self.dice.clone(),
        };
        slot.kubelet = Some(tokio::spawn(async move { match kubelet.run().await {} }));
        Ok(())
    }

    /// Ends the kubelet of a node in the middle of whatever it does; containers and mounts stay.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub async fn stop_kubelet(&mut self, node: &str) -> Result<(), ClusterError> {
        let slot = self.nodes.get_mut(node).ok_or_else(|| ClusterError::NoNode(node.to_owned()))?;
        if let Some(kubelet) = slot.kubelet.take() {
            kubelet.abort();
            // Cancelled is what it is meant to be.
            let _ = kubelet.await;
        }
        Ok(())
    }

    /// The driver of a node is killed and started again, and with it what stands beside it in its pod; calls under way get
    /// no answer.
    ///
    /// # Errors
    ///
    /// When there is no such node, or the driver does not come back.
    pub async fn restart_driver(&self, node: &str) -> Result<(), ClusterError> {
        let slot = self.nodes.get(node).ok_or_else(|| ClusterError::NoNode(node.to_owned()))?;
        restart(&slot.setup.driver, &self.context.recorder).await?;
        self.restart_sidecar(&node_driver_registrar::component(node));
        if Arc::ptr_eq(&slot.setup.driver, &self.controller) {
            // Their connection is lost, upon which they exit.
            let sidecars = [external_provisioner::NAME, external_attacher::NAME, external_resizer::NAME];
            sidecars.iter().chain(&[external_snapshotter::NAME]).for_each(|name| self.restart_sidecar(name));
        }
        Ok(())
    }

    /// Whether the driver of a node can be killed and started again.
    pub fn can_restart_driver(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|slot| slot.setup.driver.is_restartable())
    }

    /// A node is lost: its kubelet no longer reports, and in time its volumes are detached by force.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub async fn lose_node(&mut self, node: &str) -> Result<(), ClusterError> {
        self.stop_kubelet(node).await?;
        self.context.store.modify(node, |node: &mut Node| node.is_ready = false)?;
        Ok(())
    }

    /// Taints a lost node as out of service: its pods are removed and its volumes detached at once.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn set_out_of_service(&self, node: &str, is_out_of_service: bool) -> Result<(), ClusterError> {
        self.context.store.modify(node, |node: &mut Node| node.is_out_of_service = is_out_of_service)?;
        Ok(())
    }

    /// All containers of a node end, as when it reboots; a kubelet has to be started again after that.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub async fn power_off(&mut self, node: &str) -> Result<(), ClusterError> {
        self.stop_kubelet(node).await?;
        if let Some(slot) = self.nodes.get(node) {
            slot.machine.stop_all();
        }
        Ok(())
    }

    /// Whether nodes can be made to reboot.
    pub fn can_reboot(&self) -> bool {
        self.mounts.is_some()
    }

    /// A node reboots: its containers end, its mounts are gone, its driver starts again. What was on its disk is there. Its
    /// kubelet is still to be started.
    ///
    /// # Errors
    ///
    /// When there is no such node, its mounts cannot be taken away, or its driver does not come back.
    pub async fn reboot_node(&mut self, node: &str) -> Result<(), ClusterError> {
        let mounts = self.mounts.clone().ok_or(ClusterError::NoReboot)?;
        self.power_off(node).await?;
        for pod in self.context.store.list::<Pod>().into_iter().filter(|pod| pod.node_name == node) {
            let ended = |pod: &mut Pod| pod.containers_run = false;
            // A pod that is gone has no status.
            let _ = self.context.store.modify(&pod.metadata.name, ended);
        }
        mounts.lose_all(node);
        if self.can_restart_driver(node) {
            self.restart_driver(node).await?;
        }
        Ok(())
    }
}

/// Kills the processes of a driver and starts them again.
pub(super) async fn restart(driver: &Driver, recorder: &Recorder) -> Result<(), ClusterError> {
    for instance in driver.instances() {
        instance.restart(recorder, Signal::Kill).await.map_err(|error| ClusterError::Restart(error.to_string()))?;
    }
    Ok(())
}
