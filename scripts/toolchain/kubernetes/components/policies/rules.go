// Package policies enforces NetworkPolicies among pods of one machine, by rules of iptables.
package policies

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Chain is where packets that pass between pods, and from pods to the machine, are to be sent; in the table mangle, where services'
// addresses are already those of pods, and sources are still their own.
const Chain = "LAB-POLICY"

// Prefixes of the chains of one pod, for what it sends and for what it gets.
const (
	egressPrefix  = "LAB-E-"
	ingressPrefix = "LAB-I-"
)

// Cluster is what policies are about.
type Cluster struct {
	Policies   []*networking.NetworkPolicy
	Pods       []*core.Pod
	Namespaces map[string]labels.Set
}

// destination is one match of a rule: a peer's addresses and a port.
type destination struct {
	peer string
	port string
}

// Chains gives the rules of every chain. Of connections only the first packet is looked at. Packets between the machine itself and a pod,
// as those of probes, come by no chain that leads here.
func (cluster Cluster) Chains() map[string][]string {
	main := []string{"-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"}
	chains := map[string][]string{}
	for _, pod := range cluster.Pods {
		address, known := addressOf(pod)
		if !known {
			continue
		}
		for _, direction := range []networking.PolicyType{networking.PolicyTypeEgress, networking.PolicyTypeIngress} {
			allowed, isolated := cluster.allowed(pod, direction)
			if !isolated {
				continue
			}
			prefix, own, theirs := egressPrefix, "-s", "-d"
			if direction == networking.PolicyTypeIngress {
				prefix, own, theirs = ingressPrefix, "-d", "-s"
			}
			chain := fmt.Sprintf("%s%X", prefix, address.As4())
			main = append(main, fmt.Sprintf("%s %s -j %s", own, address, chain))
			// Nobody can be kept from oneself.
			rules := []string{fmt.Sprintf("%s %s -j RETURN", theirs, address)}
			for _, match := range allowed {
				rule := "-j RETURN"
				if match.port != "" {
					rule = match.port + " " + rule
				}
				if match.peer != "" {
					rule = theirs + " " + match.peer + " " + rule
				}
				rules = append(rules, rule)
			}
			chains[chain] = append(rules, "-j DROP")
		}
	}
	chains[Chain] = main
	return chains
}

// allowed gives what a pod's policies of a direction let pass, and whether there are any.
func (cluster Cluster) allowed(pod *core.Pod, direction networking.PolicyType) (allowed []destination, isolated bool) {
	for _, policy := range cluster.Policies {
		if policy.Namespace != pod.Namespace || !slices.Contains(policy.Spec.PolicyTypes, direction) || !matches(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = true
		if direction == networking.PolicyTypeEgress {
			for _, rule := range policy.Spec.Egress {
				allowed = append(allowed, cluster.destinations(policy.Namespace, rule.To, rule.Ports, nil)...)
			}
		} else {
			for _, rule := range policy.Spec.Ingress {
				allowed = append(allowed, cluster.destinations(policy.Namespace, rule.From, rule.Ports, pod)...)
			}
		}
	}
	return allowed, isolated
}

// destinations multiplies a rule's peers by its ports. Ports are those of `target`, or of each peer where that is nil.
func (cluster Cluster) destinations(namespace string, peers []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort, target *core.Pod) (all []destination) {
	add := func(peer string, pod *core.Pod) {
		if target != nil {
			pod = target
		}
		if len(ports) == 0 {
			all = append(all, destination{peer: peer})
		}
		for _, port := range ports {
			if match, valid := portMatch(port, pod); valid {
				all = append(all, destination{peer: peer, port: match})
			}
		}
	}
	if len(peers) == 0 {
		add("", nil)
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			for _, prefix := range blockPrefixes(peer.IPBlock) {
				add(prefix.String(), nil)
			}
			continue
		}
		for _, pod := range cluster.Pods {
			if address, known := addressOf(pod); known && cluster.selects(namespace, peer, pod) {
				add(address.String(), pod)
			}
		}
	}
	return all
}

func (cluster Cluster) selects(namespace string, peer networking.NetworkPolicyPeer, pod *core.Pod) bool {
	if peer.NamespaceSelector == nil {
		if pod.Namespace != namespace {
			return false
		}
	} else if !matches(peer.NamespaceSelector, cluster.Namespaces[pod.Namespace]) {
		return false
	}
	return peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels)
}

func matches(selector *meta.LabelSelector, set labels.Set) bool {
	parsed, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set)
}

// addressOf gives the address that is a pod's alone; none while it has none yet, when it has ended, or in the machine's network.
func addressOf(pod *core.Pod) (netip.Addr, bool) {
	if pod.Spec.HostNetwork || pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(pod.Status.PodIP)
	return address, err == nil && address.Is4()
}

// portMatch gives a port's match; a name is a port of `pod`, and matches nothing where that has none of the name.
func portMatch(port networking.NetworkPolicyPort, pod *core.Pod) (string, bool) {
	protocol := core.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	match := "-p " + strings.ToLower(string(protocol))
	switch {
	case port.Port == nil:
		return match, true
	case port.Port.Type == intstr.String:
		number, found := namedPort(pod, port.Port.StrVal, protocol)
		return fmt.Sprintf("%s --dport %d", match, number), found
	case port.EndPort != nil:
		return fmt.Sprintf("%s --dport %d:%d", match, port.Port.IntVal, *port.EndPort), true
	default:
		return fmt.Sprintf("%s --dport %d", match, port.Port.IntVal), true
	}
}

func namedPort(pod *core.Pod, name string, protocol core.Protocol) (int32, bool) {
	if pod == nil {
		return 0, false
	}
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, port := range container.Ports {
			if port.Name == name && (port.Protocol == protocol || (port.Protocol == "" && protocol == core.ProtocolTCP)) {
				return port.ContainerPort, true
			}
		}
	}
	return 0, false
}

// blockPrefixes gives a block less its exceptions.
func blockPrefixes(block *networking.IPBlock) []netip.Prefix {
	prefix, err := netip.ParsePrefix(block.CIDR)
	if err != nil || !prefix.Addr().Is4() {
		return nil
	}
	exceptions := []netip.Prefix{}
	for _, text := range block.Except {
		if exception, err := netip.ParsePrefix(text); err == nil {
			exceptions = append(exceptions, exception)
		}
	}
	return without(prefix.Masked(), exceptions)
}

func without(prefix netip.Prefix, exceptions []netip.Prefix) []netip.Prefix {
	overlaps := false
	for _, exception := range exceptions {
		if exception.Bits() <= prefix.Bits() && exception.Contains(prefix.Addr()) {
			return nil
		}
		overlaps = overlaps || exception.Overlaps(prefix)
	}
	if !overlaps {
		return []netip.Prefix{prefix}
	}
	low := netip.PrefixFrom(prefix.Addr(), prefix.Bits()+1)
	bytes := prefix.Addr().As4()
	bytes[prefix.Bits()/8] |= 1 << (7 - prefix.Bits()%8)
	high := netip.PrefixFrom(netip.AddrFrom4(bytes), prefix.Bits()+1)
	return append(without(low, exceptions), without(high, exceptions)...)
}
