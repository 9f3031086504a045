package main

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/GoogleCloudPlatform/k8s-cloud-provider/pkg/cloud/meta"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/api/compute/v1"
	"google.golang.org/api/googleapi"
	"sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/common"
	gce "sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/gce-cloud-provider/compute"
	"sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/gce-cloud-provider/metadata"
	"sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/parameters"
)

// resourceName is what Compute Engine accepts as the name of a disk or a snapshot.
var resourceName = regexp.MustCompile("^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")

// greatest is the size of the largest disk, in GiB.
const greatest = 64 << 10

// leastGigabytes is the size of the smallest disk of a type, in GiB, of those that the profile uses.
func leastGigabytes(diskType string) int64 {
	switch diskType {
	case "hyperdisk-balanced":
		return 4
	case "pd-ssd", "pd-balanced", "pd-standard":
		return 10
	default:
		return 1
	}
}

// cloud is upstream's fake of the compute API, made to answer as the API itself does where the driver depends on it, and
// with bytes behind its disks. What it corrects: the fake is not safe for concurrent calls, has no code 404 in its errors,
// takes any name, zone and size, deletes disks that are attached, attaches disks for writing twice, does not know what a
// disk is attached to, turns its filters by source around, and gives all snapshots one size and one date.
type cloud struct {
	*gce.FakeCloudProvider
	disks *disks
	mutex sync.Mutex
}

var _ gce.GCECompute = &cloud{}

func (c *cloud) GetDisk(ctx context.Context, project string, key *meta.Key) (*gce.CloudDisk, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.disk(ctx, project, key)
}

func (c *cloud) disk(ctx context.Context, project string, key *meta.Key) (*gce.CloudDisk, error) {
	disk, err := c.FakeCloudProvider.GetDisk(ctx, project, key)
	if err != nil {
		return nil, missing("disks/" + key.Name)
	}
	return disk, nil
}

func (c *cloud) RepairUnderspecifiedVolumeKey(ctx context.Context, project string, key *meta.Key, zone string) (string, *meta.Key, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	name := key.Name
	project, key, err := c.FakeCloudProvider.RepairUnderspecifiedVolumeKey(ctx, project, key, zone)
	if gce.IsGCENotFoundError(err) {
		err = missing("disks/" + name)
	}
	return project, key, err
}

func (c *cloud) InsertDisk(ctx context.Context, project string, key *meta.Key, params parameters.DiskParameters, size int64, capacity *csi.CapacityRange, replicas []string, snapshotID, sourceVolumeID string, multiWriter bool, accessMode string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !resourceName.MatchString(key.Name) {
		return invalid("resource.name", key.Name)
	}
	zones, err := c.FakeCloudProvider.ListZones(ctx, "")
	if err != nil {
		return err
	}
	if key.Zone != "" && !slices.Contains(zones, key.Zone) {
		return invalid("zone", key.Zone)
	}
	gigabytes := common.BytesToGbRoundUp(size)
	if least := leastGigabytes(params.DiskType); gigabytes < least || gigabytes > greatest {
		return invalid("resource.sizeGb", fmt.Sprint(gigabytes))
	}
	source := ""
	if snapshotID != "" {
		_, _, name, err := common.SnapshotIDToProjectKey(snapshotID)
		if err != nil {
			return err
		}
		snapshot, err := c.FakeCloudProvider.GetSnapshot(ctx, project, name)
		if err != nil {
			return missing("snapshots/" + name)
		}
		// "Requested disk size cannot be smaller than the snapshot size."
		if gigabytes < snapshot.DiskSizeGb {
			return invalid("resource.sizeGb", fmt.Sprint(gigabytes))
		}
		source = c.disks.snapshot(name)
	}
	if sourceVolumeID != "" {
		_, from, err := common.VolumeIDToKey(sourceVolumeID)
		if err != nil {
			return err
		}
		source = c.disks.disk(fileName(from))
	}
	if err := c.disks.create(fileName(key), source, gigabytes<<30); err != nil {
		return err
	}
	return c.FakeCloudProvider.InsertDisk(ctx, project, key, params, size, capacity, replicas, snapshotID, sourceVolumeID, multiWriter, accessMode)
}

func (c *cloud) DeleteDisk(ctx context.Context, project string, key *meta.Key) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if users := c.users(ctx, c.GetDiskSourceURI(project, key)); len(users) > 0 {
		return inUse(key.Name, users)
	}
	if err := c.disks.delete(c.disks.disk(fileName(key))); err != nil {
		return err
	}
	return c.FakeCloudProvider.DeleteDisk(ctx, project, key)
}

func (c *cloud) UpdateDisk(ctx context.Context, project string, key *meta.Key, disk *gce.CloudDisk, params parameters.ModifyVolumeParameters) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if _, err := c.disk(ctx, project, key); err != nil {
		return err
	}
	return c.FakeCloudProvider.UpdateDisk(ctx, project, key, disk, params)
}

func (c *cloud) AttachDisk(ctx context.Context, project string, key *meta.Key, mode, diskType, zone, instance string, force bool) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	disk, err := c.disk(ctx, project, key)
	if err != nil {
		return err
	}
	source := c.GetDiskSourceURI(project, key)
	shared := disk.GetMultiWriter() || disk.GetAccessMode() == "READ_WRITE_MANY"
	for _, user := range c.attachments(ctx, source) {
		if !shared && (mode == "READ_WRITE" || user.Mode == "READ_WRITE") {
			return inUse(key.Name, c.users(ctx, source))
		}
	}
	if instance == metadata.FakeName {
		name, err := common.GetDeviceName(key)
		if err != nil {
			return err
		}
		if err := c.disks.attach(name, fileName(key), mode == "READ_ONLY"); err != nil {
			return err
		}
	}
	return c.FakeCloudProvider.AttachDisk(ctx, project, key, mode, diskType, zone, instance, force)
}

func (c *cloud) DetachDisk(ctx context.Context, project, deviceName, zone, name string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	instance, err := c.FakeCloudProvider.GetInstanceOrError(ctx, project, zone, name)
	if err != nil {
		return missing("instances/" + name)
	}
	isThis := func(disk *compute.AttachedDisk) bool { return disk.DeviceName == deviceName }
	// The fake panics otherwise.
	if !slices.ContainsFunc(instance.Disks, isThis) {
		return invalid("deviceName", deviceName)
	}
	if name == metadata.FakeName {
		if err := c.disks.detach(deviceName); err != nil {
			return err
		}
	}
	return c.FakeCloudProvider.DetachDisk(ctx, project, deviceName, zone, name)
}

func (c *cloud) SetDiskAccessMode(ctx context.Context, project string, key *meta.Key, accessMode string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.FakeCloudProvider.SetDiskAccessMode(ctx, project, key, accessMode)
}

func (c *cloud) SetDiskLabels(ctx context.Context, project string, key *meta.Key, disk *gce.CloudDisk, labels map[string]string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.FakeCloudProvider.SetDiskLabels(ctx, project, key, disk, labels)
}

func (c *cloud) ResizeDisk(ctx context.Context, project string, key *meta.Key, size int64) (int64, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	disk, err := c.disk(ctx, project, key)
	if err != nil {
		return -1, err
	}
	// As upstream's client of the real API does.
	if disk.GetSizeGb() >= common.BytesToGbRoundUp(size) {
		return disk.GetSizeGb(), nil
	}
	if common.BytesToGbRoundUp(size) > greatest {
		return -1, invalid("resource.sizeGb", fmt.Sprint(common.BytesToGbRoundUp(size)))
	}
	name, err := common.GetDeviceName(key)
	if err != nil {
		return -1, err
	}
	if err := c.disks.resize(name, fileName(key), common.BytesToGbRoundUp(size)<<30); err != nil {
		return -1, err
	}
	return c.FakeCloudProvider.ResizeDisk(ctx, project, key, size)
}

func (c *cloud) ListDisks(ctx context.Context, fields []googleapi.Field) ([]*compute.Disk, string, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	disks, token, err := c.FakeCloudProvider.ListDisks(ctx, fields)
	for _, disk := range disks {
		disk.Users = c.users(ctx, disk.SelfLink)
	}
	// The API lists by name unless it is told otherwise.
	slices.SortFunc(disks, func(a, b *compute.Disk) int { return strings.Compare(a.Name, b.Name) })
	return disks, token, err
}

func (c *cloud) ListDisksWithFilter(ctx context.Context, fields []googleapi.Field, filter string) ([]*compute.Disk, string, error) {
	return c.ListDisks(ctx, fields)
}

func (c *cloud) ListInstances(ctx context.Context, fields []googleapi.Field) ([]*compute.Instance, string, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	instances, token, err := c.FakeCloudProvider.ListInstances(ctx, fields)
	for i, instance := range instances {
		instances[i] = copied(instance)
	}
	return instances, token, err
}

func (c *cloud) GetInstanceOrError(ctx context.Context, project, zone, name string) (*compute.Instance, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	instance, err := c.FakeCloudProvider.GetInstanceOrError(ctx, project, zone, name)
	if err != nil || project != c.GetDefaultProject() || zone != c.GetDefaultZone() {
		return nil, missing("instances/" + name)
	}
	return copied(instance), nil
}

func (c *cloud) ListSnapshots(ctx context.Context, filter string) ([]*compute.Snapshot, string, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	snapshots, token, err := c.FakeCloudProvider.ListSnapshots(ctx, "")
	if source, isFiltered := strings.CutPrefix(filter, "sourceDisk eq "); isFiltered {
		// In the API's language `eq` compares with a regular expression that has to match the whole.
		wanted, err := regexp.Compile("^(?:" + source + ")$")
		if err != nil {
			return nil, "", invalid("filter", filter)
		}
		snapshots = slices.DeleteFunc(snapshots, func(one *compute.Snapshot) bool { return !wanted.MatchString(one.SourceDisk) })
	}
	slices.SortFunc(snapshots, func(a, b *compute.Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return snapshots, token, err
}

func (c *cloud) GetSnapshot(ctx context.Context, project, name string) (*compute.Snapshot, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !resourceName.MatchString(name) {
		return nil, invalid("snapshot", name)
	}
	snapshot, err := c.FakeCloudProvider.GetSnapshot(ctx, project, name)
	if err != nil {
		return nil, missing("snapshots/" + name)
	}
	return snapshot, nil
}

func (c *cloud) CreateSnapshot(ctx context.Context, project string, key *meta.Key, name string, params parameters.SnapshotParameters) (*compute.Snapshot, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !resourceName.MatchString(name) {
		return nil, invalid("resource.name", name)
	}
	disk, err := c.disk(ctx, project, key)
	if err != nil {
		return nil, err
	}
	if snapshot, err := c.FakeCloudProvider.GetSnapshot(ctx, project, name); err == nil {
		return snapshot, nil
	}
	if err := clone(c.disks.disk(fileName(key)), c.disks.snapshot(name)); err != nil {
		return nil, err
	}
	snapshot, err := c.FakeCloudProvider.CreateSnapshot(ctx, project, key, name, params)
	if err != nil {
		return nil, err
	}
	snapshot.CreationTimestamp = time.Now().Format(time.RFC3339)
	snapshot.DiskSizeGb = disk.GetSizeGb()
	return snapshot, nil
}

func (c *cloud) DeleteSnapshot(ctx context.Context, project, name string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !resourceName.MatchString(name) {
		return invalid("snapshot", name)
	}
	if err := c.disks.delete(c.disks.snapshot(name)); err != nil {
		return err
	}
	return c.FakeCloudProvider.DeleteSnapshot(ctx, project, name)
}

func (c *cloud) ListImages(ctx context.Context, filter string) ([]*compute.Image, string, error) {
	return nil, "", nil
}

func (c *cloud) GetImage(ctx context.Context, project, name string) (*compute.Image, error) {
	return nil, missing("images/" + name)
}

func (c *cloud) CreateImage(ctx context.Context, project string, key *meta.Key, name string, params parameters.SnapshotParameters) (*compute.Image, error) {
	return nil, &googleapi.Error{Code: http.StatusForbidden, Message: "this cloud has no images"}
}

func (c *cloud) DeleteImage(ctx context.Context, project, name string) error {
	return nil
}

// attachments are those of a disk, at whatever instance.
func (c *cloud) attachments(ctx context.Context, source string) []*compute.AttachedDisk {
	var found []*compute.AttachedDisk
	for _, instance := range c.instances(ctx) {
		for _, disk := range instance.Disks {
			if disk.Source == source {
				found = append(found, disk)
			}
		}
	}
	return found
}

// users are the links of the instances that a disk is attached to.
func (c *cloud) users(ctx context.Context, source string) []string {
	var users []string
	for _, instance := range c.instances(ctx) {
		if slices.ContainsFunc(instance.Disks, func(disk *compute.AttachedDisk) bool { return disk.Source == source }) {
			users = append(users, fmt.Sprintf("%sprojects/%s/zones/%s/instances/%s", gce.BasePath, c.GetDefaultProject(), c.GetDefaultZone(), instance.Name))
		}
	}
	return users
}

func (c *cloud) instances(ctx context.Context) []*compute.Instance {
	// The fake's method cannot fail.
	instances, _, _ := c.FakeCloudProvider.ListInstances(ctx, nil)
	return instances
}

// copied keeps a reader apart from what AttachDisk and DetachDisk change.
func copied(instance *compute.Instance) *compute.Instance {
	copied := *instance
	copied.Disks = slices.Clone(instance.Disks)
	return &copied
}

func fileName(key *meta.Key) string { return key.Zone + key.Region + "_" + path.Base(key.Name) }

func failure(code int, reason, message string) error {
	return &googleapi.Error{Code: code, Message: message, Errors: []googleapi.ErrorItem{{Reason: reason, Message: message}}}
}

func missing(what string) error {
	return failure(http.StatusNotFound, "notFound", fmt.Sprintf("The resource '%s' was not found", what))
}

func invalid(field, value string) error {
	return failure(http.StatusBadRequest, "invalid", fmt.Sprintf("Invalid value for field '%s': '%s'.", field, value))
}

func inUse(disk string, users []string) error {
	message := fmt.Sprintf("The disk resource '%s' is already being used by '%s'", disk, strings.Join(users, "', '"))
	return failure(http.StatusBadRequest, "resourceInUseByAnotherResource", message)
}
