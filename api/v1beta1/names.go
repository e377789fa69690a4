package v1beta1

// Annotations on a Service.
const (
	// AnnotationLoadBalancerIPs asks for addresses: a comma-separated list, at
	// most 8 of each family. The Service gets all of them or none. A host part of a pool with
	// source.prefix, such as ::1:5, is the address that it has under the prefix of now.
	AnnotationLoadBalancerIPs = Group + "/loadBalancerIPs"
	// AnnotationAddressPool asks for addresses of that IPAddressPool and no other.
	AnnotationAddressPool = Group + "/address-pool"
	// AnnotationAddressCount asks for so many addresses of each family of the Service, from 1, the
	// default, to 8. Where there are fewer, the Service gets those that there are.
	AnnotationAddressCount = Group + "/address-count"
	// AnnotationAllowSharedIP is a sharing key: Services with the same key and
	// disjoint ports may share an address.
	AnnotationAllowSharedIP = Group + "/allow-shared-ip"
	// AnnotationRenumbering with the value Switch has the Service keep its old address alone until its
	// pool's renumbering is Switched, and then have the new one alone. Otherwise it has both meanwhile.
	AnnotationRenumbering = Group + "/renumbering"
	// AnnotationPool names the pool (or, comma-separated in the order of the
	// addresses, the pools) that the Service's addresses come from. The controller
	// writes it.
	AnnotationPool = Group + "/ip-allocated-from-pool"
	// AnnotationFinalizer says, by being there, that the finalizer
	// service.kubernetes.io/load-balancer-cleanup on the Service is the controller's own,
	// which takes both away together. The controller writes it.
	AnnotationFinalizer = Group + "/cleanup-finalizer"
)

// Finalizers on a Service.
const (
	// FinalizerCleanup makes the deletion of a Service wait until its load balancer
	// has been taken away (--cleanup-finalizer). It is a well-known finalizer of
	// Kubernetes, and may be that of another load balancer.
	FinalizerCleanup = "service.kubernetes.io/load-balancer-cleanup"
)

// Labels on pools, peers and advertisements.
const (
	// LabelManagedBy has the value steelyard-values on objects that are made from the values of
	// Steelyard's chart: an upgrade changes them, and deletes those that the values no longer have.
	LabelManagedBy = Group + "/managed-by"
)

// Labels on a Node.
const (
	// LabelExcludeNode keeps a node from announcing anything. Its value does not
	// matter. It is a well-known label of Kubernetes: kubeadm, Talos and kind set it on
	// control planes, and kubectl steelyard drain sets it.
	LabelExcludeNode = "node.kubernetes.io/exclude-from-external-load-balancers"

	// LabelExclude keeps a node from announcing anything, whatever its value, and has no
	// meaning for other load balancers and cloud providers. It also counts with
	// --ignore-exclude-label; kubectl steelyard drain sets it then.
	LabelExclude = Group + "/exclude"
)

// Taints on a Node.
const (
	// TaintOutOfService keeps a node from announcing anything. It is a well-known taint
	// of Kubernetes, which an administrator sets on a node that is known to be off.
	TaintOutOfService = "node.kubernetes.io/out-of-service"
)
