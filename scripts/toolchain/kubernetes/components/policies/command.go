package policies

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Events come in bursts: what has come within this is enforced at once.
const pause = 20 * time.Millisecond

// NewCommand gives the program that keeps the rules as the cluster's policies say.
func NewCommand() *cobra.Command {
	var kubeconfig string
	command := &cobra.Command{
		Use:          "network-policies",
		Short:        "Enforces NetworkPolicies among pods of this machine",
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return run(ctx, kubeconfig)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "configuration of the client")
	return command
}

func run(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods()
	namespaces := factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()
	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { note() },
		UpdateFunc: func(any, any) { note() },
		DeleteFunc: func(any) { note() },
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	note()
	enforced := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		time.Sleep(pause)
		cluster, err := look(pods.Lister().List, policies.Lister().List, namespaces.Lister().List)
		if err != nil {
			return err
		}
		wanted := cluster.Chains()
		if text := fmt.Sprint(wanted); text != enforced {
			if err := enforce(wanted); err != nil {
				return err
			}
			enforced = text
			fmt.Printf("%s enforced: %d chains\n", time.Now().Format(time.RFC3339), len(wanted))
		}
	}
}

func look(
	pods func(labels.Selector) ([]*core.Pod, error),
	policies func(labels.Selector) ([]*networking.NetworkPolicy, error),
	namespaces func(labels.Selector) ([]*core.Namespace, error),
) (cluster Cluster, err error) {
	if cluster.Pods, err = pods(labels.Everything()); err != nil {
		return cluster, err
	}
	// The same cluster has the same rules, in the same order.
	slices.SortFunc(cluster.Pods, func(a, b *core.Pod) int { return strings.Compare(string(a.UID), string(b.UID)) })
	if cluster.Policies, err = policies(labels.Everything()); err != nil {
		return cluster, err
	}
	slices.SortFunc(cluster.Policies, func(a, b *networking.NetworkPolicy) int { return strings.Compare(string(a.UID), string(b.UID)) })
	all, err := namespaces(labels.Everything())
	cluster.Namespaces = map[string]labels.Set{}
	for _, namespace := range all {
		cluster.Namespaces[namespace.Name] = namespace.Labels
	}
	return cluster, err
}

var podChain = regexp.MustCompile(`(?m)^:(LAB-[EI]-\S+)`)

// enforce replaces all chains in one step, and removes those that are of no pod any more.
func enforce(chains map[string][]string) error {
	saved, err := exec.Command("iptables-save", "-t", "mangle").Output()
	if err != nil {
		return fmt.Errorf("iptables-save: %w", err)
	}
	var declared, rules, removed strings.Builder
	for name, list := range chains {
		fmt.Fprintf(&declared, ":%s - [0:0]\n", name)
		for _, rule := range list {
			fmt.Fprintf(&rules, "-A %s %s\n", name, rule)
		}
	}
	for _, match := range podChain.FindAllSubmatch(saved, -1) {
		name := string(match[1])
		if _, wanted := chains[name]; !wanted {
			fmt.Fprintf(&declared, ":%s - [0:0]\n", name)
			fmt.Fprintf(&removed, "-X %s\n", name)
		}
	}
	input := "*mangle\n" + declared.String() + rules.String() + removed.String() + "COMMIT\n"
	restore := exec.Command("iptables-restore", "--noflush", "--wait")
	restore.Stdin = strings.NewReader(input)
	var output bytes.Buffer
	restore.Stdout, restore.Stderr = &output, os.Stderr
	if err := restore.Run(); err != nil {
		return fmt.Errorf("iptables-restore: %w\n%s%s", err, output.String(), input)
	}
	return nil
}
