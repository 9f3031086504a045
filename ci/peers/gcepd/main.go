// Command gcepd serves the GCE persistent disk CSI driver on a Unix socket, on a cloud that is made of sparse files.
//
// Identity, Controller and Node servers, formatting, mounting and measuring are upstream's, with the settings of its
// deploy/kubernetes/base. The compute API is upstream's fake with the corrections in cloud.go; the disks are ours (disks.go).
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/api/compute/v1"
	"k8s.io/klog/v2"
	gce "sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/gce-cloud-provider/compute"
	"sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/gce-cloud-provider/metadata"
	driver "sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/gce-pd-csi-driver"
	mountmanager "sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/mount-manager"
)

// secondNode is the name of an instance beside the one that the driver runs on; nothing runs there.
const secondNode = "test-other"

func main() {
	klog.InitFlags(flag.CommandLine)
	endpoint := flag.String("endpoint", os.Getenv("CSI_ENDPOINT"), "where to listen: unix:///path")
	backoff := flag.Duration("backoff", 200*time.Millisecond, "upstream's backoff-initial-duration-ms")
	flag.Parse()
	if err := serve(*endpoint, *backoff); err != nil {
		fmt.Fprintln(os.Stderr, "gcepd:", err)
		os.Exit(1)
	}
}

// serve answers until the process is ended; upstream has no other way.
func serve(endpoint string, backoff time.Duration) error {
	if path, isUnix := strings.CutPrefix(endpoint, "unix://"); !isUnix || path == "" {
		return fmt.Errorf("cannot listen at %q: give -endpoint unix:///path", endpoint)
	}
	directory, err := os.MkdirTemp("", "gcepd-")
	if err != nil {
		return err
	}
	removeWhenEnded(directory)
	disks, err := newDisks(directory)
	if err != nil {
		return err
	}
	cloud, err := newCloud(disks)
	if err != nil {
		return err
	}
	mounter, err := mountmanager.NewSafeMounter(1, time.Minute)
	if err != nil {
		return err
	}
	gceDriver := driver.GetGCEDriver()
	controller := driver.NewControllerServer(
		gceDriver, cloud, backoff, 5*time.Minute, nil, false, true,
		driver.MultiZoneVolumeHandleConfig{}, driver.ListVolumesConfig{},
		driver.ProvisionableDisksConfig{
			SupportsIopsChange:       []string{"hyperdisk-balanced", "hyperdisk-extreme"},
			SupportsThroughputChange: []string{"hyperdisk-balanced", "hyperdisk-throughput", "hyperdisk-ml"},
		},
		false, &driver.GCEControllerServerArgs{})
	node := driver.NewNodeServer(
		gceDriver, mounter, newDevices(disks), metadata.NewFakeService(), mountmanager.NewStatter(mounter),
		&driver.NodeServerArgs{
			EnableDeviceInUseCheck: true, DeviceInUseTimeout: 30 * time.Second, EnableDataCache: true, SysfsPath: "/sys",
		}).WithSerializedFormatAndMount(time.Minute, 1)
	err = gceDriver.SetupGCEDriver(
		"pd.csi.storage.gke.io", "v1.28.1", nil, nil, driver.NewIdentityServer(gceDriver), controller, node)
	if err != nil {
		return err
	}
	gceDriver.Run(endpoint, 10000, false, nil)
	return nil
}

// removeWhenEnded takes the disks away when the process is told to end, and then lets it end as upstream's would.
func removeWhenEnded(directory string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		received := <-signals
		os.RemoveAll(directory)
		signal.Reset()
		if number, isNumber := received.(syscall.Signal); isNumber {
			syscall.Kill(os.Getpid(), number)
		}
	}()
}

// newCloud is a project with two instances: that of this driver, and another one.
func newCloud(disks *disks) (*cloud, error) {
	fake, err := gce.CreateFakeCloudProvider(metadata.FakeProject, metadata.FakeZone, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{metadata.FakeName, secondNode} {
		fake.InsertInstance(&compute.Instance{Name: name, MachineType: "zones/country-region-zone/machineTypes/n1-standard-1"}, metadata.FakeZone, name)
	}
	return &cloud{FakeCloudProvider: fake, disks: disks}, nil
}
