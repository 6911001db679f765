// flanneld as Flannel's own packages make it, with the backends host-gw and vxlan and subnets from Kubernetes alone: the
// upstream program also links backends that need cgo or a cloud's SDK. Its options keep their names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"
)

// Seconds after which Flannel looks for its rules again, as upstream has it.
const resync = 5

var (
	kubeconfig = flag.String("kubeconfig-file", "", "kubeconfig; the environment's NODE_NAME says which node this is")
	netConf    = flag.String("net-config-path", "/etc/kube-flannel/net-conf.json", "network configuration")
	subnetFile = flag.String("subnet-file", "/run/flannel/subnet.env", "where the CNI plugin reads this node's subnet")
	iface      = flag.String("iface", "", "device towards other nodes; that of the default route unless given")
	ipMasq     = flag.Bool("ip-masq", false, "masquerade what leaves the pod network")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "flanneld:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	subnets, err := kube.NewSubnetManager(ctx, "", *kubeconfig, "flannel.alpha.coreos.com", *netConf, true)
	if err != nil {
		return err
	}
	config, err := subnets.GetNetworkConfig(ctx)
	if err != nil {
		return err
	}
	families, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return err
	}
	device, err := ipmatch.LookupExtIface(*iface, "", "", families, ipmatch.PublicIPOpts{})
	if err != nil {
		return err
	}
	way, err := backend.NewManager(ctx, subnets, device).GetBackend(config.BackendType)
	if err != nil {
		return err
	}
	var routines sync.WaitGroup
	network, err := way.RegisterNetwork(ctx, &routines, config)
	if err != nil {
		return err
	}
	rules := new(iptables.IPTablesManager)
	if err := rules.Init(ctx); err != nil {
		return err
	}
	lease := network.Lease()
	if *ipMasq {
		// The rules of an earlier run had the same networks: a lab's do not change.
		err := rules.SetupAndEnsureMasqRules(ctx, config.Network, lease.Subnet, config.Network,
			config.IPv6Network, ip.IP6Net{}, config.IPv6Network, lease, resync, false)
		if err != nil {
			return err
		}
	}
	rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resync)
	if err := subnets.HandleSubnetFile(*subnetFile, config, *ipMasq, lease.Subnet, lease.IPv6Subnet, network.MTU()); err != nil {
		return err
	}
	routines.Go(func() { network.Run(ctx) })
	err = subnets.CompleteLease(ctx, lease, &routines)
	if err == nil {
		<-ctx.Done()
	}
	routines.Wait()
	return err
}
