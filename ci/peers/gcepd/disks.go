package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"sigs.k8s.io/gcp-compute-persistent-disk-csi-driver/pkg/deviceutils"
)

// disks keeps the bytes of disks and snapshots in sparse files, and shows attached disks as loop devices.
type disks struct {
	directory string

	mutex    sync.Mutex
	attached map[string]attachment
}

type attachment struct {
	device string
	// As long as it is open, the loop device lives; when this process ends, however it ends, the kernel takes it apart.
	open *os.File
}

func newDisks(directory string) (*disks, error) {
	for _, name := range []string{"disks", "snapshots", "by-id"} {
		if err := os.MkdirAll(filepath.Join(directory, name), 0o700); err != nil {
			return nil, err
		}
	}
	return &disks{directory: directory, attached: map[string]attachment{}}, nil
}

func (d *disks) disk(name string) string     { return filepath.Join(d.directory, "disks", name) }
func (d *disks) snapshot(name string) string { return filepath.Join(d.directory, "snapshots", name) }

// link is where an attached disk appears, as udev has it under /dev/disk/by-id.
func (d *disks) link(deviceName string) string {
	return filepath.Join(d.directory, "by-id", "google-"+deviceName)
}

// create makes a disk with the bytes of a file, or empty.
func (d *disks) create(name, source string, size int64) error {
	path := d.disk(name)
	if source != "" {
		if err := clone(source, path); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(size), file.Close())
}

func (d *disks) delete(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disks) attach(deviceName, disk string, readOnly bool) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	arguments := []string{"--find", "--show"}
	if readOnly {
		arguments = append(arguments, "--read-only")
	}
	device, err := run("losetup", append(arguments, d.disk(disk))...)
	if err != nil {
		return err
	}
	open, err := os.Open(device)
	if err != nil {
		return err
	}
	// Takes it apart as soon as nobody has it open any more.
	if _, err := run("losetup", "--detach", device); err != nil {
		return errors.Join(err, open.Close())
	}
	if err := os.Symlink(device, d.link(deviceName)); err != nil {
		return errors.Join(err, open.Close())
	}
	d.attached[deviceName] = attachment{device: device, open: open}
	return nil
}

func (d *disks) detach(deviceName string) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	attachment, isAttached := d.attached[deviceName]
	if !isAttached {
		return nil
	}
	delete(d.attached, deviceName)
	return errors.Join(os.Remove(d.link(deviceName)), attachment.open.Close())
}

func (d *disks) resize(deviceName, disk string, size int64) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if err := os.Truncate(d.disk(disk), size); err != nil {
		return err
	}
	if attachment, isAttached := d.attached[deviceName]; isAttached {
		_, err := run("losetup", "--set-capacity", attachment.device)
		return err
	}
	return nil
}

// devices finds the disks of this node; what is done with a device is upstream's.
type devices struct {
	deviceutils.DeviceUtils
	disks *disks
}

func newDevices(disks *disks) *devices {
	return &devices{DeviceUtils: deviceutils.NewDeviceUtils(), disks: disks}
}

// GetDiskByIdPaths names the one place where a disk appears.
func (d *devices) GetDiskByIdPaths(deviceName string, partition string) []string {
	path := d.disks.link(deviceName)
	if partition != "" {
		path += "-part" + partition
	}
	return []string{path}
}

// VerifyDevicePath is upstream's without udev and without serial numbers, which loop devices have none of.
func (d *devices) VerifyDevicePath(devicePaths []string, deviceName string) (string, error) {
	for _, path := range devicePaths {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("timed out waiting for %s to appear", deviceName)
}

// clone copies a file with its holes.
func clone(source, target string) error {
	_, err := run("cp", "--sparse=always", "--reflink=auto", source, target)
	return err
}

func run(program string, arguments ...string) (string, error) {
	output, err := exec.Command(program, arguments...).CombinedOutput()
	text := strings.TrimSpace(string(output))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(arguments, " "), err, text)
	}
	return text, nil
}
