package charts

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const (
	deployment  = "Deployment " + Namespace + "/steelyard-controller"
	daemonSet   = "DaemonSet " + Namespace + "/steelyard-speaker"
	budget      = "PodDisruptionBudget " + Namespace + "/steelyard-controller"
	policy      = "NetworkPolicy " + Namespace + "/steelyard-controller"
	constraints = "SecurityContextConstraints /steelyard-speaker"
	job         = "Job " + Namespace + "/steelyard-values"
	monitor     = "PodMonitor " + Namespace + "/steelyard"
	byService   = "ServiceMonitor " + Namespace + "/steelyard"
	alerts      = "PrometheusRule " + Namespace + "/steelyard"
	dashboard   = "ConfigMap " + Namespace + "/steelyard-dashboard"
	digest      = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	container   = "spec.template.spec.containers.0."
	pod         = "spec.template.spec."
)

// effect says what a value other than the default does to an object. "" as
// path is the object itself; a path that ends in "+" is a list that must hold
// want; want nil: there is nothing.
type effect struct {
	object, path string
	want         any
}

// effects has an entry for each value: another value than the default, as YAML,
// and what comes of it.
func effects() map[string]struct {
	value   string
	effects []effect
} {
	type c = struct {
		value   string
		effects []effect
	}
	made := func(object string) []effect { return []effect{{job, container + "args+", object}} }
	arg := func(object, want string) effect { return effect{object, container + "args+", want} }
	return map[string]c{
		"unschedulable":      {"drain", []effect{arg(deployment, "--unschedulable=drain"), arg(daemonSet, "--unschedulable=drain")}},
		"ignoreExcludeLabel": {"true", []effect{arg(deployment, "--ignore-exclude-label"), arg(daemonSet, "--ignore-exclude-label")}},
		"loadBalancerClass":  {"example.org/edge", []effect{arg(deployment, "--load-balancer-class=example.org/edge"), arg(daemonSet, "--load-balancer-class=example.org/edge")}},
		"logLevel":           {"DEBUG", []effect{arg(deployment, "--log-level=DEBUG"), arg(daemonSet, "--log-level=DEBUG")}},
		"logFormat":          {"json", []effect{arg(deployment, "--log-format=json"), arg(daemonSet, "--log-format=json")}},
		"image.registry": {"registry.example.org/net", []effect{
			{deployment, container + "image", "registry.example.org/net/steelyard-controller:dev"}, {daemonSet, container + "image", "registry.example.org/net/steelyard-speaker:dev"}}},
		"image.tag":        {"v9.9.9", []effect{{deployment, container + "image", "steelyard-controller:v9.9.9"}, {daemonSet, container + "image", "steelyard-speaker:v9.9.9"}}},
		"image.pullPolicy": {"Never", []effect{{deployment, container + "imagePullPolicy", "Never"}, {daemonSet, container + "imagePullPolicy", "Never"}}},
		"image.pullSecrets": {"[mine]", []effect{
			{deployment, pod + "imagePullSecrets.0.name", "mine"}, {daemonSet, pod + "imagePullSecrets.0.name", "mine"}}},
		"image.controllerDigest": {digest, []effect{{deployment, container + "image", "steelyard-controller:dev@" + digest}}},
		"image.speakerDigest":    {digest, []effect{{daemonSet, container + "image", "steelyard-speaker:dev@" + digest}}},
		"commonLabels": {"{cost: net}", []effect{
			{deployment, "metadata.labels.cost", "net"}, {deployment, "spec.template.metadata.labels.cost", "net"}, {daemonSet, "spec.template.metadata.labels.cost", "net"},
			{policy, "metadata.labels.cost", "net"}, {"CustomResourceDefinition /l2claims.steelyard.dev", "metadata.labels.cost", "net"}, {deployment, "spec.selector.matchLabels.cost", nil}}},
		"crds.install":                 {"false", []effect{{"CustomResourceDefinition /l2claims.steelyard.dev", "", nil}}},
		"pools":                        {`{lan: {addresses: ["192.0.2.100-192.0.2.200"]}}`, made(`{"apiVersion":"steelyard.dev/v1beta1","kind":"IPAddressPool","metadata":{"name":"lan"},"spec":{"addresses":["192.0.2.100-192.0.2.200"]}}`)},
		"advertisements.layer2":        {"{lan: {ipAddressPools: [lan]}}", made(`{"apiVersion":"steelyard.dev/v1beta1","kind":"L2Advertisement","metadata":{"name":"lan"},"spec":{"ipAddressPools":["lan"]}}`)},
		"advertisements.bgp":           {"{all: null}", made(`{"apiVersion":"steelyard.dev/v1beta1","kind":"BGPAdvertisement","metadata":{"name":"all"},"spec":{}}`)},
		"peers":                        {"{router: {peerASN: 64601, myASN: 64512, peerAddress: 192.0.2.1}}", made(`{"apiVersion":"steelyard.dev/v1beta1","kind":"BGPPeer","metadata":{"name":"router"},"spec":{"myASN":64512,"peerASN":64601,"peerAddress":"192.0.2.1"}}`)},
		"bfdProfiles":                  {"{fast: {detectMultiplier: 3}}", made(`{"apiVersion":"steelyard.dev/v1beta1","kind":"BFDProfile","metadata":{"name":"fast"},"spec":{"detectMultiplier":3}}`)},
		"communities":                  {"{names: {communities: [{name: a, value: \"64512:1\"}]}}", made(`{"apiVersion":"steelyard.dev/v1beta1","kind":"Community","metadata":{"name":"names"},"spec":{"communities":[{"name":"a","value":"64512:1"}]}}`)},
		"openshift.scc":                {"true", []effect{{constraints, "users.0", "system:serviceaccount:" + Namespace + ":steelyard-speaker"}}},
		"networkPolicy.enabled":        {"false", []effect{{policy, "", nil}}},
		"networkPolicy.metricsFrom":    {"[{podSelector: {}}]", []effect{{policy, "spec.ingress.0.from.0.podSelector", map[string]any{}}}},
		"networkPolicy.apiServerPorts": {"[6443]", []effect{{policy, "spec.policyTypes+", "Egress"}, {policy, "spec.egress.0.ports.0.port", 6443.0}}},
		"metrics.secure": {"true", []effect{arg(deployment, "--metrics-secure"), arg(daemonSet, "--metrics-secure"),
			{"ClusterRole /steelyard-metrics-auth", "rules.0.resources.0", "tokenreviews"}, {"ClusterRole /steelyard-metrics-auth", "rules.1.resources.0", "subjectaccessreviews"},
			{"ClusterRoleBinding /steelyard-metrics-auth", "subjects.1.name", "steelyard-speaker"}, {"ClusterRole /steelyard-metrics-reader", "rules.0.nonResourceURLs.0", "/metrics"}}},
		"metrics.certSecret": {"cert", []effect{arg(deployment, "--metrics-cert-path=/etc/steelyard/metrics"), arg(daemonSet, "--metrics-cert-path=/etc/steelyard/metrics"),
			{deployment, pod + "volumes.0.secret.secretName", "cert"}, {daemonSet, pod + "volumes.0.secret.secretName", "cert"},
			{deployment, container + "volumeMounts.0.name", "metrics-cert"}, {daemonSet, container + "volumeMounts.0.mountPath", "/etc/steelyard/metrics"}}},
		"podMonitor.tlsConfig":     {"{serverName: metrics}", []effect{{monitor, "spec.podMetricsEndpoints.0.tlsConfig.serverName", "metrics"}, {monitor, "spec.podMetricsEndpoints.0.scheme", "https"}}},
		"podMonitor.authorization": {"{credentials: {name: a, key: token}}", []effect{{monitor, "spec.podMetricsEndpoints.0.authorization.credentials.name", "a"}}},
		"podMonitor.enabled":       {"true", []effect{{monitor, "spec.podMetricsEndpoints.0.port", "metrics"}}},
		"podMonitor.labels":        {"{release: prom}", []effect{{monitor, "metadata.labels.release", "prom"}}},
		"podMonitor.interval":      {"10s", []effect{{monitor, "spec.podMetricsEndpoints.0.interval", "10s"}}},

		"serviceMonitor.enabled":       {"true", []effect{{byService, "spec.endpoints.0.port", "metrics"}, {"Service " + Namespace + "/steelyard-metrics", "spec.clusterIP", "None"}}},
		"serviceMonitor.labels":        {"{release: prom}", []effect{{byService, "metadata.labels.release", "prom"}}},
		"serviceMonitor.interval":      {"10s", []effect{{byService, "spec.endpoints.0.interval", "10s"}}},
		"serviceMonitor.tlsConfig":     {"{serverName: metrics}", []effect{{byService, "spec.endpoints.0.tlsConfig.serverName", "metrics"}, {byService, "spec.endpoints.0.scheme", "https"}}},
		"serviceMonitor.authorization": {"{credentials: {name: a, key: token}}", []effect{{byService, "spec.endpoints.0.authorization.credentials.name", "a"}}},
		"prometheusRule.enabled":       {"true", []effect{{alerts, "spec.groups.0.name", "steelyard-addresses"}}},
		"prometheusRule.labels":        {"{release: prom}", []effect{{alerts, "metadata.labels.release", "prom"}}},
		"dashboard.enabled":            {"true", []effect{{dashboard, "metadata.labels.grafana_dashboard", "1"}}},
		"dashboard.labels":             {"{folder: net}", []effect{{dashboard, "metadata.labels.folder", "net"}}},
		"dashboard.annotations":        {"{grafana_folder: Network}", []effect{{dashboard, "metadata.annotations.grafana_folder", "Network"}}},

		"controller.image":               {"mirror.example.org/c@sha256:12", []effect{{deployment, container + "image", "mirror.example.org/c@sha256:12"}}},
		"controller.replicas":            {"3", []effect{{deployment, "spec.replicas", 3.0}}},
		"controller.podDisruptionBudget": {"false", []effect{{budget, "", nil}}},
		"controller.compatAnnotations":   {"metallb.io", []effect{arg(deployment, "--compat-annotations=metallb.io")}},
		"controller.cleanupFinalizer":    {"true", []effect{arg(deployment, "--cleanup-finalizer")}},
		"controller.metricsPort":         {"9472", []effect{arg(deployment, "--metrics-bind-address=:9472"), {deployment, container + "ports.0.containerPort", 9472.0}}},
		"controller.probePort":           {"9473", []effect{arg(deployment, "--health-probe-bind-address=:9473"), {deployment, container + "ports.1.containerPort", 9473.0}}},
		"controller.pageHosts":           {"[a.example.org, b]", []effect{arg(deployment, "--page-hosts=a.example.org,b")}},
		"controller.extraArgs":           {"[--pprof-bind-address=0]", []effect{arg(deployment, "--pprof-bind-address=0")}},
		"controller.user":                {"1000", []effect{{deployment, pod + "securityContext.runAsUser", 1000.0}, {deployment, pod + "securityContext.runAsGroup", 1000.0}}},
		"speaker.user":                   {"1000", []effect{{daemonSet, pod + "securityContext.runAsUser", 1000.0}}},
		"controller.priorityClassName":   {"mine", []effect{{deployment, pod + "priorityClassName", "mine"}}},
		"controller.resources":           {"{limits: {memory: 1Gi}}", []effect{{deployment, container + "resources.limits.memory", "1Gi"}}},
		"controller.nodeSelector":        {"{role: edge}", []effect{{deployment, pod + "nodeSelector.role", "edge"}}},
		"controller.tolerations":         {"[{key: a}]", []effect{{deployment, pod + "tolerations.0.key", "a"}}},
		"controller.affinity": {"{nodeAffinity: {}}", []effect{
			{deployment, pod + "affinity.nodeAffinity", map[string]any{}}, {deployment, pod + "affinity.podAntiAffinity", nil}}},
		"controller.podLabels":      {"{team: net}", []effect{{deployment, "spec.template.metadata.labels.team", "net"}, {deployment, "spec.selector.matchLabels.team", nil}}},
		"controller.podAnnotations": {"{note: x}", []effect{{deployment, "spec.template.metadata.annotations.note", "x"}}},

		"controller.podSecurityContext":        {"{runAsUser: 7}", []effect{{deployment, pod + "securityContext.runAsUser", 7.0}, {deployment, pod + "securityContext.seccompProfile", nil}}},
		"controller.securityContext":           {"false", []effect{{deployment, container + "securityContext", nil}}},
		"controller.extraEnv":                  {"[{name: GOGC, value: \"50\"}]", []effect{{deployment, container + "env+", map[string]any{"name": "GOGC", "value": "50"}}}},
		"controller.extraVolumes":              {"[{name: a, emptyDir: {}}]", []effect{{deployment, pod + "volumes+", map[string]any{"name": "a", "emptyDir": map[string]any{}}}}},
		"controller.extraVolumeMounts":         {"[{name: a, mountPath: /a}]", []effect{{deployment, container + "volumeMounts+", map[string]any{"name": "a", "mountPath": "/a"}}}},
		"controller.runtimeClassName":          {"mine", []effect{{deployment, pod + "runtimeClassName", "mine"}}},
		"controller.serviceAccountAnnotations": {"{note: x}", []effect{{"ServiceAccount " + Namespace + "/steelyard-controller", "metadata.annotations.note", "x"}}},
		"controller.topologySpreadConstraints": {"[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]", []effect{{deployment, pod + "topologySpreadConstraints.0.topologyKey", "zone"}}},
		"controller.updateStrategy":            {"{type: Recreate}", []effect{{deployment, "spec.strategy.type", "Recreate"}, {deployment, "spec.strategy.rollingUpdate", nil}}},

		"speaker.image":                {"mirror.example.org/s:1", []effect{{daemonSet, container + "image", "mirror.example.org/s:1"}}},
		"speaker.metricsAddress":       {`"127.0.0.1:9474"`, []effect{arg(daemonSet, "--metrics-bind-address=127.0.0.1:9474"), {daemonSet, container + "ports.0.containerPort", 9474.0}}},
		"speaker.probePort":            {"9475", []effect{arg(daemonSet, "--health-probe-bind-address=127.0.0.1:9475"), {daemonSet, container + "ports.1.containerPort", 9475.0}}},
		"speaker.debugPort":            {"0", []effect{arg(daemonSet, "--debug-bind-address=0")}},
		"speaker.membershipPort":       {"0", []effect{arg(daemonSet, "--membership-port=0")}},
		"speaker.membershipInterval":   {"50ms", []effect{arg(daemonSet, "--membership-interval=50ms")}},
		"speaker.isolation":            {"never", []effect{arg(daemonSet, "--isolation=never")}},
		"speaker.membershipMultiplier": {"3", []effect{arg(daemonSet, "--membership-multiplier=3")}},
		"speaker.heartbeat":            {"5s", []effect{arg(daemonSet, "--heartbeat=5s")}},
		"speaker.ignoreLinks":          {"[cni*, wlan0]", []effect{arg(daemonSet, "--ignore-links=cni*,wlan0")}},
		"speaker.defend":               {"true", []effect{arg(daemonSet, "--defend")}},
		"speaker.announceRate":         {"10", []effect{arg(daemonSet, "--announce-rate=10")}},
		"speaker.drainTime":            {"20s", []effect{arg(daemonSet, "--drain-time=20s")}},
		"speaker.endpointWait":         {"4s", []effect{arg(daemonSet, "--endpoint-wait=4s")}},
		"speaker.nullRouteTable":       {"0", []effect{arg(daemonSet, "--null-route-table=0")}},
		"speaker.readyCheck":           {`""`, []effect{arg(daemonSet, "--ready-check=")}},
		"speaker.extraArgs":            {"[--drain-time=1s]", []effect{arg(daemonSet, "--drain-time=1s")}},
		"speaker.minReadySeconds":      {"20", []effect{{daemonSet, "spec.minReadySeconds", 20.0}}},
		"speaker.maxUnavailable":       {"10%", []effect{{daemonSet, "spec.updateStrategy.rollingUpdate.maxUnavailable", "10%"}}},
		"speaker.capabilities":         {"[NET_RAW]", []effect{{daemonSet, container + "securityContext.capabilities.add", []any{"NET_RAW"}}}},
		"speaker.runAsRoot": {"true", []effect{
			{daemonSet, pod + "securityContext.runAsUser", 0.0}, {daemonSet, pod + "securityContext.runAsNonRoot", nil}, {daemonSet, container + "securityContext.allowPrivilegeEscalation", false}}},
		"controller.deletionWarning": {"false", []effect{
			{"ValidatingAdmissionPolicy /steelyard-pool-in-use", "", nil}, {"ValidatingAdmissionPolicyBinding /steelyard-pool-in-use", "", nil}}},
		"speaker.admissionPolicy": {"false", []effect{
			{"ValidatingAdmissionPolicy /steelyard-speaker", "", nil}, {"ValidatingAdmissionPolicyBinding /steelyard-speaker", "", nil}}},
		"speaker.priorityClassName": {"mine", []effect{{daemonSet, pod + "priorityClassName", "mine"}}},
		"speaker.resources":         {"{limits: {memory: 1Gi}}", []effect{{daemonSet, container + "resources.limits.memory", "1Gi"}}},
		"speaker.nodeSelector":      {"{role: edge}", []effect{{daemonSet, pod + "nodeSelector.role", "edge"}}},
		"speaker.tolerations":       {"[{key: a}]", []effect{{daemonSet, pod + "tolerations.0.key", "a"}}},
		"speaker.podLabels":         {"{team: net}", []effect{{daemonSet, "spec.template.metadata.labels.team", "net"}, {daemonSet, "spec.selector.matchLabels.team", nil}}},
		"speaker.podAnnotations":    {"{note: x}", []effect{{daemonSet, "spec.template.metadata.annotations.note", "x"}}},

		"speaker.podSecurityContext":        {"{runAsUser: 7}", []effect{{daemonSet, pod + "securityContext.runAsUser", 7.0}, {daemonSet, pod + "securityContext.seccompProfile", nil}}},
		"speaker.securityContext":           {"false", []effect{{daemonSet, container + "securityContext", nil}}},
		"speaker.extraEnv":                  {"[{name: GOGC, value: \"50\"}]", []effect{{daemonSet, container + "env+", map[string]any{"name": "GOGC", "value": "50"}}}},
		"speaker.extraVolumes":              {"[{name: a, emptyDir: {}}]", []effect{{daemonSet, pod + "volumes+", map[string]any{"name": "a", "emptyDir": map[string]any{}}}}},
		"speaker.extraVolumeMounts":         {"[{name: a, mountPath: /a}]", []effect{{daemonSet, container + "volumeMounts+", map[string]any{"name": "a", "mountPath": "/a"}}}},
		"speaker.runtimeClassName":          {"mine", []effect{{daemonSet, pod + "runtimeClassName", "mine"}}},
		"speaker.serviceAccountAnnotations": {"{note: x}", []effect{{"ServiceAccount " + Namespace + "/steelyard-speaker", "metadata.annotations.note", "x"}}},
		"speaker.updateStrategy":            {"{type: OnDelete}", []effect{{daemonSet, "spec.updateStrategy.type", "OnDelete"}, {daemonSet, "spec.updateStrategy.rollingUpdate", nil}}},
	}
}

// set returns values in which one is set, besides what it needs to be seen.
func set(t *testing.T, into map[string]any, path, value string) map[string]any {
	t.Helper()
	group, name, nested := strings.Cut(path, ".")
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if !nested {
		into[group] = v
		return into
	}
	if into[group] == nil {
		into[group] = map[string]any{}
	}
	into[group].(map[string]any)[name] = v
	if slices.Contains([]string{"podMonitor", "serviceMonitor", "prometheusRule", "dashboard"}, group) {
		into[group].(map[string]any)["enabled"] = true
	}
	if path == "metrics.certSecret" || name == "tlsConfig" || name == "authorization" {
		set(t, into, "metrics.secure", "true")
	}
	return into
}

// everyValue returns all values of effects at once, as far as they don't undo
// one another.
func everyValue(t *testing.T) map[string]any {
	values := map[string]any{}
	for path, c := range effects() {
		set(t, values, path, c.value)
	}
	return values
}

// at returns what is at a path in an object, nil if there is nothing.
func at(o any, path string) any {
	for step := range strings.SplitSeq(path, ".") {
		switch v := o.(type) {
		case map[string]any:
			o = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return nil
			}
			o = v[i]
		default:
			return nil
		}
	}
	return o
}

func TestEachValueHasItsEffect(t *testing.T) {
	values, err := Values("steelyard")
	if err != nil {
		t.Fatal(err)
	}
	plain, all := byHelm(t, nil), effects()
	for _, v := range values {
		c, ok := all[v.Path]
		if !ok {
			t.Errorf("no test sets %s", v.Path)
		}
		delete(all, v.Path)
		for _, e := range c.effects {
			have, before := find(byHelm(t, set(t, map[string]any{}, v.Path, c.value)), e), find(plain, e)
			if diff := cmp.Diff(e.want, have); diff != "" {
				t.Errorf("%s: %s: %s at %s: -want +have\n%s", v.Path, c.value, e.object, e.path, diff)
			}
			negative := strings.Contains(e.path, "selector.matchLabels.") // which must not change
			if cmp.Equal(have, before) && !negative {
				t.Errorf("%s: %s at %s is %v by default as well", v.Path, e.object, e.path, have)
			}
		}
	}
	for path := range all {
		t.Errorf("a test sets %s, which values.yaml does not have", path)
	}
}

// find returns what an effect is about.
func find(all objects, e effect) any {
	o, ok := all[e.object]
	if !ok {
		return nil
	}
	if e.path == "" {
		return o
	}
	path, inList := strings.CutSuffix(e.path, "+")
	have := at(o, path)
	if list, ok := have.([]any); ok && inList {
		if slices.ContainsFunc(list, func(each any) bool { return cmp.Equal(each, e.want) }) {
			return e.want
		}
		return nil
	}
	return have
}

// On OpenShift the controller leaves its user to the platform, and the speakers' constraints
// allow what their DaemonSet asks for.
func TestOpenShift(t *testing.T) {
	values := map[string]any{"openshift": map[string]any{"scc": true}, "controller": map[string]any{"user": 0}, "pools": map[string]any{"lan": map[string]any{}}}
	helm := byHelm(t, values)
	for _, o := range []string{deployment, job} {
		if context, ok := at(helm[o], pod+"securityContext").(map[string]any); !ok || context["runAsUser"] != nil || context["runAsNonRoot"] != true {
			t.Errorf("%s: want a user that the platform chooses, and not root, have %v", o, context)
		}
	}
	scc := helm[constraints]
	for path, asks := range map[string]string{
		"allowedCapabilities": container + "securityContext.capabilities.add", "allowHostNetwork": pod + "hostNetwork",
		"allowPrivilegeEscalation": container + "securityContext.allowPrivilegeEscalation", "readOnlyRootFilesystem": container + "securityContext.readOnlyRootFilesystem",
	} {
		if diff := cmp.Diff(at(helm[daemonSet], asks), at(scc, path)); diff != "" {
			t.Errorf("%s: -asked for +allowed\n%s", path, diff)
		}
	}
	for _, never := range []string{"allowPrivilegedContainer", "allowHostPID", "allowHostIPC", "allowHostDirVolumePlugin"} {
		if at(scc, never) != false {
			t.Errorf("%s is %v", never, at(scc, never))
		}
	}
}

// The schema refuses what could only be a mistake.
func TestSchemaRefuses(t *testing.T) {
	for _, c := range []struct{ name, path, value, says string }{
		{"a value that is not there", "speaker.replicas", "3", "replicas"},
		{"a group that is not there", "sepaker", "{}", "sepaker"},
		{"a number as text", "controller.replicas", `"2"`, "controller/replicas"},
		{"a port out of range", "controller.metricsPort", "70000", "controller/metricsPort"},
		{"a level that is none", "logLevel", "info", "logLevel"},
		{"a time without a unit", "speaker.heartbeat", "5", "speaker/heartbeat"},
		{"too few misses", "speaker.membershipMultiplier", "2", "speaker/membershipMultiplier"},
		{"no speaker at all in an update", "speaker.maxUnavailable", "0", "speaker/maxUnavailable"},
		{"capabilities without NET_RAW", "speaker.capabilities", "[NET_ADMIN]", "speaker/capabilities"},
		{"an image without tag or digest", "speaker.image", "mirror.example.org/speaker", "speaker/image"},
		{"a name that no Secret has", "metrics.certSecret", "My_Cert", "metrics/certSecret"},
		{"a digest that is none", "image.speakerDigest", "sha256:12", "image/speakerDigest"},
		{"a context that is no object", "speaker.securityContext", "true", "speaker/securityContext"},
		{"unknown annotation prefixes", "controller.compatAnnotations", "purelb", "controller/compatAnnotations"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Render("steelyard", set(t, map[string]any{}, c.path, c.value))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("want a refusal that names %s, have %v", c.says, err)
			}
		})
	}
}

// What is printed after an installation names what it did and what comes next.
func TestNotes(t *testing.T) {
	rendered, err := Render("steelyard", map[string]any{"loadBalancerClass": "example.org/edge"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"namespace " + Namespace, "kubectl get speakers.steelyard.dev", "kind: IPAddressPool", "spec.loadBalancerClass: example.org/edge", "keeps the kinds", "blob/main/docs/how-to/uninstall.md", "the chart of a checkout", "pod-security.kubernetes.io/enforce=privileged"} {
		if !strings.Contains(rendered["NOTES.txt"], want) {
			t.Errorf("want %q in\n%s", want, rendered["NOTES.txt"])
		}
	}
}

// Who has pools in the values is not told to make one.
func TestNotesWithPools(t *testing.T) {
	rendered, err := Render("steelyard", map[string]any{"pools": map[string]any{"lan": map[string]any{"addresses": []any{"192.0.2.100-192.0.2.200"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if notes := rendered["NOTES.txt"]; strings.Contains(notes, "kind: IPAddressPool") || !strings.Contains(notes, "kubectl get speakers.steelyard.dev") {
		t.Errorf("the notes: %s", notes)
	}
}

// A list of classes is a flag for each; the empty one stands for Services without a class.
func TestSeveralClasses(t *testing.T) {
	rendered, err := Render("steelyard", map[string]any{"loadBalancerClass": []any{"example.org/edge", ""}})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range rendered {
		program := strings.HasSuffix(file, "/deployment.yaml") || strings.HasSuffix(file, "/daemonset.yaml")
		if two := strings.Contains(text, "- --load-balancer-class=example.org/edge\n") && strings.Contains(text, "- --load-balancer-class=\n"); two != program {
			t.Errorf("%s has both classes: %t\n%s", file, two, text)
		}
	}
	if notes := rendered["NOTES.txt"]; !strings.Contains(notes, `"example.org/edge" ""`) {
		t.Errorf("the notes: %s", notes)
	}
}
