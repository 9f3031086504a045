// Command mockdriver serves the CSI mock driver of Kubernetes' end-to-end tests on a Unix socket.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"k8s.io/kubernetes/test/e2e/storage/drivers/csi-test/mock/service"
)

func main() {
	endpoint := flag.String("endpoint", os.Getenv("CSI_ENDPOINT"), "where to listen: unix:///path")
	config := service.Config{}
	flag.StringVar(&config.DriverName, "name", service.Name, "the driver's name, which is also its node's id")
	flag.BoolVar(&config.DisableAttach, "disable-attach", false, "leave out ControllerPublishVolume")
	flag.Int64Var(&config.AttachLimit, "attach-limit", 0, "how many volumes can be attached; 0 for any number")
	flag.BoolVar(&config.NodeExpansionRequired, "node-expansion", false, "expand volumes on the node, too")
	flag.BoolVar(&config.DisableControllerExpansion, "disable-controller-expansion", false, "leave out ControllerExpandVolume")
	flag.BoolVar(&config.DisableOnlineExpansion, "disable-online-expansion", false, "expand only volumes that are not published")
	flag.BoolVar(&config.PermissiveTargetPath, "permissive-target-path", false, "tolerate a target path that exists")
	flag.BoolVar(&config.EnableTopology, "topology", false, "report a topology")
	flag.Parse()
	if err := serve(*endpoint, config); err != nil {
		fmt.Fprintln(os.Stderr, "mockdriver:", err)
		os.Exit(1)
	}
}

// serve answers until the process is told to stop.
func serve(endpoint string, config service.Config) error {
	path, isUnix := strings.CutPrefix(endpoint, "unix://")
	if !isUnix || path == "" {
		return fmt.Errorf("cannot listen at %q: give -endpoint unix:///path", endpoint)
	}
	// A driver that was killed leaves its socket behind.
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	driver := service.New(config)
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, driver)
	csi.RegisterControllerServer(server, driver)
	csi.RegisterNodeServer(server, driver)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		server.Stop()
	}()
	return server.Serve(listener)
}
